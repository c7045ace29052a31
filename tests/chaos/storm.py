"""A storm: many calls, one fault after the other, and at the end the invariants."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import psutil
from redis.asyncio import Redis

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.errors import CallGone
from jambonz_shared.redis.errors import LinkError
from jambonz_workers import Calls
from tests.chaos.callers import Caller, Crowd, crowd
from tests.chaos.faults import Faults
from tests.chaos.invariants import Findings, examine
from tests.chaos.memory import Memory
from tests.chaos.proxy import Proxy
from tests.chaos.scene import APP, GRACE_S, SETTINGS, leftovers
from tests.cluster_fixture import Cluster, ClusterFactory

LIFE_S: Final = 6.0
EVERY_S: Final = 0.6
CALM_S: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Storm:
    """How bad, how long.

    Attributes:
        seconds: Time in which faults happen; the calls then leave in peace.
        seed: Chooses faults, their times and what callers say.
        rate: New calls per second.
        only: Names of the faults to choose from; all if empty.
    """

    seconds: float
    seed: int
    rate: float = 8.0
    only: tuple[str, ...] = ()


async def run(storm: Storm, folder: Path, say: Callable[[str], None]) -> Findings:
    """Let a storm rage and return what was found; ``say`` gets a line of progress now and then."""
    dice = random.Random(storm.seed)
    with EmbeddedRedis(appendfsync="everysec") as server:
        async with Proxy([server.port]).listening() as redis_proxy:
            factory = ClusterFactory(f"redis://127.0.0.1:{redis_proxy.port}/0", folder)
            try:
                cluster = await factory(APP, gateways=2, workers=2, settings=SETTINGS)
                async with Proxy([gateway.port for gateway in cluster.gateways]).listening() as balancer:
                    faults = Faults(cluster, balancer, server, redis_proxy, dice)
                    faults.choose_from(storm.only)
                    url = f"ws://127.0.0.1:{balancer.port}"
                    memory = Memory(cluster)
                    findings = await _rage(storm, faults, server.url, url, _both(memory.look, say))
                await _nothing_left(cluster, server.url, findings)
                memory.look()
                for line in memory.lines():
                    say(line)
                findings.violations += [("memory is flat", f"{name} has grown") for name in memory.grown()]
            finally:
                await factory.stop()
            _no_process_left(cluster, findings)
    return findings


def _both(look: Callable[[], None], say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what looks whenever there is something to say: after each fault."""

    def look_and_say(text: str) -> None:
        look()
        say(text)

    return look_and_say


async def _rage(storm: Storm, faults: Faults, redis_url: str, url: str, say: Callable[[str], None]) -> Findings:
    async with crowd(url, storm.seed * 1_000_000) as people, Calls.connect(redis_url) as calls:
        sending = asyncio.create_task(_send_commands(calls, people, random.Random(storm.seed)))
        async with people.streaming(storm.rate, LIFE_S, EVERY_S):
            end_at_s = monotonic() + storm.seconds
            dice = random.Random(storm.seed + 1)
            while monotonic() < end_at_s:
                await asyncio.sleep(dice.uniform(*CALM_S))
                name = await faults.one()
                say(f"{storm.seconds - (end_at_s - monotonic()):5.1f} s  {len(people.callers):4d} calls  {name}")
            say("the storm is over; the calls leave")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        findings = examine(people)
        if any(codes := await faults.exit_codes()):
            findings.violations.append(("leaving in peace", f"exit codes {codes}"))
        findings.counts.update(Counter({f"fault: {name}": count for name, count in faults.done.items()}))
        return findings


async def _send_commands(calls: Calls, people: Crowd, dice: random.Random) -> None:
    """Send numbered commands from outside, to one call at a time, and note what became of each."""
    while True:
        await asyncio.sleep(0.05)
        present = [caller for caller in people.callers[-100:] if caller.live.is_connected and caller.answers]
        if present:
            await _send_command(calls, dice.choice(present))


async def _send_command(calls: Calls, caller: Caller) -> None:
    number = len(caller.remotes) + 1
    # Until it is known otherwise nobody knows: Redis may be away, the call may have ended.
    caller.remotes[number] = "unknown"
    with contextlib.suppress(CallGone, LinkError, TimeoutError):
        async with asyncio.timeout(3.0):
            call = await calls.get(caller.sid)
            outcome = await call.redirect([{"verb": "tag", "data": {"remote": number}}], queue=True)
            caller.remotes[number] = outcome.kind.value


async def _nothing_left(cluster: Cluster, redis_url: str, findings: Findings) -> None:
    """P8: no key of a call or of a dead process is there when the grace time is over."""
    give_up_at_s = monotonic() + 2 * GRACE_S
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        while monotonic() < give_up_at_s:
            left = [key async for key in leftovers(redis)] + await _of_dead_processes(redis, cluster)
            if not left:
                return
            await asyncio.sleep(0.2)
        about = [await redis.hgetall(key) for key in left if key.startswith("jc:call:")][:3]
    shown = [{name: value for name, value in one.items() if name[:2] not in ("s:", "fa")} for one in about]
    findings.violations.append(("nothing left in Redis", f"{len(left)} keys, such as {left[:5]}, {shown}"))


async def _of_dead_processes(redis: Redis, cluster: Cluster) -> list[str]:
    """Return the keys of processes that do not run any more; a process id is ``<host>-<pid>-<random>``."""
    running = {str(member.pid) for member in cluster.members if member.is_running}
    found: list[str] = []
    for kind in ("inbox", "owned", "held", "worker", "gateway", "begun"):
        keys = [key async for key in redis.scan_iter(f"jc:{kind}:*")]
        found += [key for key in keys if key.partition("{")[2].split("-")[-2] not in running]
    return found


def _no_process_left(cluster: Cluster, findings: Findings) -> None:
    left = [member.name for member in cluster.members if psutil.pid_exists(member.pid)]
    if left:
        findings.violations.append(("no process left", ", ".join(left)))
