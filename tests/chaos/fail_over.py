"""The death of a Redis primary under live calls, whoever arranges for its successor."""

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

from jambonz_shared.redis.errors import LinkDown
from jambonz_workers import Calls
from jambonz_workers.calls import RemoteCall
from tests.chaos.callers import Caller, all_settled, tag_of
from tests.chaos.figures import calls, report, spread
from tests.chaos.scene import scene
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

# One line of a gateway's log: its link is up for the second time.
_BACK: Final = "link is up connection=gateway connects=2"
_PAUSE_S: Final = 0.05


async def play(cluster: ClusterFactory, kill: Callable[[], None], title: str) -> None:
    """Have 30 calls talk while ``kill`` ends a primary, and commands come from outside in the gap; report the outage.

    No call is lost (P6), hooks of the gap are acked (P1), events are handled once and in order (P2, P3), commands of
    the application and from outside are delivered or their sender is told (P4, P5), nothing stays (P8).
    """
    async with scene(cluster) as stage, Calls.connect(stage.cluster.redis_url) as outside:
        await stage.crowd.arrive(calls(30))
        async with stage.crowd.talking(0.7):
            numbers = {caller: caller.send() for caller in stage.callers}
            for caller, number in numbers.items():
                assert (await caller.settled(number)).verbs
            remotes = await outside.list()
            killed_at_s = monotonic()
            kill()
            in_the_gap = [caller.send() for caller in stage.callers]
            # What is written into a dying socket has a fate that nobody knows; this is about the time after that.
            await until(lambda: not outside._link.is_up, "the loss is noticed")
            commands = asyncio.gather(*map(_command, remotes))
            gateways = stage.cluster.gateways
            await until(lambda: all(_BACK in gateway.log_text for gateway in gateways), "all gateways are back")
            back_at_s = monotonic()
            await all_settled(stage.callers, lambda it: it.answered_after_s(back_at_s) is not None, "answered", 20.0)
            for caller, number in zip(stage.callers, in_the_gap, strict=True):
                assert (await caller.settled(number)).is_acked
            outcomes = dict(await commands)
        findings = await stage.end()
    arrived = {caller.sid: _arrived(caller) for caller in stage.callers}
    told = Counter(outcomes.values())
    after_s = [after for caller in stage.callers if (after := caller.answered_after_s(back_at_s)) is not None]
    figures = {
        "outage": f"{back_at_s - killed_at_s:.1f} s",
        "first answer afterwards": spread(after_s),
        "commands of the gap": dict(told),
    }
    report(f"{title}, {len(stage.callers)} calls", {**figures, **findings.counts})
    # Queued: it came, but the gateway could not say so in time.
    assert told.keys() <= {"sent", "queued", "unknown"}
    for sid, outcome in outcomes.items():
        assert arrived[sid] == 1 or (outcome == "unknown" and arrived[sid] == 0), (sid, outcome, arrived[sid])


async def _command(remote: RemoteCall) -> tuple[str, str]:
    """Send a command until it is taken, as long as it has certainly not been; return what became of it."""
    while True:
        try:
            sent = await remote.redirect([{"verb": "tag", "data": {"outside": True}}], queue=True)
        except LinkDown as error:
            if error.sent:
                return remote.sid, "unknown"
        else:
            return remote.sid, sent.kind.value
        await asyncio.sleep(_PAUSE_S)


def _arrived(caller: Caller) -> int:
    """Return how often the command from outside has come."""
    result = caller.live.result
    assert result is not None
    datas = [command.data for command in result.commands if isinstance(command.data, list)]
    return sum("outside" in (tag_of(data) or {}) for data in datas)
