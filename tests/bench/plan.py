"""What `make bench` measures: which load on which peers, how often."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.loads import Kind, Load
from tests.bench.peers import Peer, Relay, WholeCluster, bare, channels, node_sdk, python_sdk

BARE: Final = "bare websockets"
CLUSTER: Final = "jambonz-cluster"
PYTHON_SDK: Final = "Python SDK"
NODE_SDK: Final = "Node SDK"
CHANNELS: Final = "Channels"
TWO_AND_TWO: Final = "jambonz-cluster 2+2"
FOUR_AND_FOUR: Final = "jambonz-cluster 4+4"
THREE_MASTERS: Final = "jambonz-cluster 3 masters"
RELAY: Final = "relay"
RELAY_LOGGED: Final = "relay logged"
"""What the way through Redis costs at the least, without and with a log of what is not delivered; promises nothing."""
LINGERING: Final = "jambonz-cluster linger"
SOURCES: Final = "jambonz-cluster sources"
"""Our processes from their sources, beside those of the compiled wheel; measured if a Python for it is named."""
BOUNDS: Final = (BARE, RELAY, RELAY_LOGGED)
SCALED: Final = (TWO_AND_TWO, FOUR_AND_FOUR, THREE_MASTERS)
LINGER: Final = "redis_linger_s"
MUST_NOT_LOSE: Final = (BARE, CLUSTER, TWO_AND_TWO, FOUR_AND_FOUR, THREE_MASTERS, LINGERING, SOURCES)
# The goal is for the first; the others are for machines that cannot take it.
RATES: Final = (15_000, 10_000, 5_000)


@dataclass(frozen=True, slots=True)
class Step:
    """A load and the names of the peers that get it; the first one is what the others are compared to."""

    load: Load
    peers: tuple[str, ...]
    rounds: int


def full(seconds: float, rounds: int) -> list[Step]:
    """Return the whole plan."""
    saturation = Load("saturation", "saturation, 256 calls, one hook in flight each", Kind.CLOSED, 256, seconds)
    notices = Load("notices", "the same, a notice before each hook", Kind.CLOSED, 256, seconds, has_notices=True)
    one = Load("one", "one call, one hook at a time", Kind.CLOSED, 1, seconds)
    fixed = [
        Load(f"rate-{rate}", f"{rate:,} hooks a second over 256 calls", Kind.OPEN, 256, seconds, rate=rate)
        for rate in RATES
    ]
    few = Load("live-100", "100 live calls, 100 hooks in flight", Kind.CLOSED, 100, seconds, in_flight=100)
    many = Load("live-10000", "10,000 live calls, 100 hooks in flight", Kind.CLOSED, 10_000, seconds, in_flight=100)
    churn = Load("churn", "short calls, 64 at a time: set-up, one hook, end", Kind.CHURN, 64, seconds)
    # Two rounds of pings, which come each 25 s.
    idle = Load("idle", "10,000 idle calls", Kind.IDLE, 10_000, 50.0, few_calls=500)
    storm = Load(
        "storm", "5,000 calls, all sockets break at once", Kind.IDLE, 5000, 1.0, few_calls=500, storm_calls=5000
    )  # fmt: skip
    return [
        Step(saturation, (*BOUNDS, CLUSTER, SOURCES, PYTHON_SDK, NODE_SDK, CHANNELS, *SCALED), rounds),
        Step(one, (*BOUNDS, CLUSTER, SOURCES, PYTHON_SDK, NODE_SDK, CHANNELS), rounds),
        *(Step(load, (BARE, RELAY_LOGGED, CLUSTER, LINGERING), rounds) for load in fixed),
        Step(notices, (BARE, CLUSTER), rounds),
        Step(churn, (BARE, CLUSTER, SOURCES), rounds),
        Step(few, (BARE, CLUSTER), rounds),
        Step(many, (BARE, CLUSTER), rounds),
        Step(storm, (BARE, CLUSTER), rounds),
        Step(idle, (BARE, CLUSTER), 1),
    ]


def quick() -> list[Step]:
    """Return a minute's worth: every kind of load once, ours and the bound."""
    pair = (BARE, CLUSTER)
    return [
        Step(
            Load("saturation", "saturation, 256 calls", Kind.CLOSED, 256, 2.0, warmup_s=1.0),
            (*BOUNDS, CLUSTER),
            1,
        ),
        Step(Load("one", "one call, one hook at a time", Kind.CLOSED, 1, 1.0, warmup_s=0.3), pair, 1),
        Step(Load("rate-1000", "1,000 hooks a second", Kind.OPEN, 64, 1.5, warmup_s=0.5, rate=1000), pair, 1),
        Step(Load("notices", "notices before hooks", Kind.CLOSED, 64, 1.0, warmup_s=0.5, has_notices=True), pair, 1),
        Step(Load("churn-16", "short calls, 16 at a time", Kind.CHURN, 16, 1.5, warmup_s=0.5), pair, 1),
        Step(Load("storm", "300 sockets break", Kind.IDLE, 400, 0.5, few_calls=50, storm_calls=300), pair, 1),
    ]


def peers(folder: Path, sources_python: str | None = None) -> dict[str, Peer]:
    """Return every peer by its name; clusters write their logs below ``folder``."""
    linger = {"JAMBONZ_CLUSTER_REDIS_LINGER": "2ms"}
    made: list[Peer] = [
        bare(),
        Relay(RELAY, "plain"),
        Relay(RELAY_LOGGED, "logged"),
        WholeCluster(CLUSTER, folder / "one"),
        python_sdk(),
        node_sdk(),
        channels(),
        WholeCluster(TWO_AND_TWO, folder / "two", 2, 2),
        WholeCluster(FOUR_AND_FOUR, folder / "four", 4, 4),
        WholeCluster(THREE_MASTERS, folder / "masters", has_masters=True),
        WholeCluster(LINGERING, folder / "linger", settings=linger, needs=LINGER),
    ]
    if sources_python:
        made.append(WholeCluster(SOURCES, folder / "sources", python=sources_python))
    return {peer.name: peer for peer in made}
