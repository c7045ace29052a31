"""A gateway that is killed, or sockets that die without a word: jambonz comes back and nothing is missing (P6)."""

from functools import partial
from time import monotonic

import pytest

from tests.chaos.callers import Caller, all_settled
from tests.chaos.figures import calls, percentile, report, spread
from tests.chaos.scene import GRACE_S, Scene, metric, nothing_left, scene
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

# A machine that builds something else at the same time gets more.
RESUMED_GOAL_S = 2.0
RECONNECT_GOAL_S = 0.1
HANDSHAKE_GOAL_S = 1.0
SLACK_S = 1.0


def reconnect_acks_s(callers: list[Caller]) -> list[float]:
    """Return how long each session:reconnect waited for its ack."""
    records = [record for caller in callers for record in caller.live.hooks if record.kind == "session:reconnect"]
    return [record.latency_s for record in records if record.latency_s is not None]


def handshakes_s(callers: list[Caller]) -> list[float]:
    """Return how long each second handshake took, from the request to the first message."""
    times: list[float] = []
    for caller in callers:
        entries = caller.live.core.world.ledger.entries
        begun = {entry.connection: entry.t_s for entry in entries if "http" in entry.frame}
        sent = {entry.connection: entry.t_s for entry in entries if entry.frame.get("type") == "session:reconnect"}
        times += [at_s - begun[connection] for connection, at_s in sent.items()]
    return times


async def resumed_after_s(callers: list[Caller], at_s: float) -> list[float]:
    """Send each call a hook as soon as it is connected again; return when it was answered, from ``at_s`` on."""
    for caller in callers:
        await caller.live.wait_for_sockets(2)
        caller.send()
    await all_settled(callers, lambda it: it.answered_after_s(at_s) is not None, "an answer after the death", 20.0)
    return [caller.answered_after_s(at_s) or 0.0 for caller in callers]


@pytest.mark.cluster_too(others_are_long=True)
async def test_killed_gateway_loses_no_call(cluster: ClusterFactory) -> None:
    """All calls are back within 2 s (p99); hooks that died with their socket are answered by a redirect."""
    async with scene(cluster) as stage:
        await stage.crowd.arrive(calls(50))
        victim, survivor = stage.cluster.gateways
        mine = stage.of_gateway(victim)
        assert len(mine) > 5, "the calls spread over both gateways"
        # Some have a hook pending, which holds up what follows it; the others show how fast calls resume.
        pending = {caller: caller.send("/stuck") for caller in mine[::4]}
        await until(partial(have_begun, stage, len(pending)), "the workers have the hooks")
        stage.balancer.backends = [survivor.port]
        kill_at_s = monotonic()
        victim.kill()
        after_s = await resumed_after_s([caller for caller in mine if caller not in pending], kill_at_s)
        await all_settled(
            list(pending), lambda it: redirected(it, pending[it]), "verbs of the dead hook as a redirect", 20.0
        )
        findings = await stage.end()
    acks_s, opened_s = reconnect_acks_s(mine), handshakes_s(mine)
    assert all(caller.live.core.world.ledger.sockets == 2 for caller in mine)
    report(
        f"gateway killed, {len(stage.callers)} calls, {len(mine)} of them on it",
        {
            "next answer": spread(after_s),
            "ack of session:reconnect": spread(acks_s),
            "handshakes": spread(opened_s),
            **findings.counts,
        },
    )
    assert percentile(after_s, 99) <= RESUMED_GOAL_S + SLACK_S
    assert percentile(acks_s, 99) <= RECONNECT_GOAL_S + SLACK_S
    assert percentile(opened_s, 99) <= HANDSHAKE_GOAL_S + SLACK_S


async def have_begun(stage: Scene, hooks: int) -> bool:
    """Whether the workers have begun so many hooks."""
    begun = [await metric(worker, "jambonz_worker_events_total", kind="verb:hook") for worker in stage.cluster.workers]
    return sum(begun) >= hooks


def redirected(caller: Caller, number: int) -> bool:
    """Whether the verbs that answer a number came as a redirect command."""
    commands = [command for command in caller.live.commands if command.command == "redirect"]
    return any(
        verb["data"].get("i") == number
        for command in commands
        if not command.queue_command and isinstance(command.data, list)
        for verb in command.data
        if verb["verb"] == "tag"
    )


async def test_half_open_socket_is_replaced(cluster: ClusterFactory) -> None:
    """jambonz has lost its socket, its gateway has not: the new one counts, the old one is closed at once."""
    async with scene(cluster) as stage:
        await stage.crowd.arrive(10)
        pairs = list(stage.balancer.pairs)
        for caller in stage.callers:
            assert await caller.settled(caller.send())
        stage.balancer.swallow(lambda pair: pair in pairs)
        at_s = monotonic()
        for caller in stage.callers:
            caller.live.drop_socket()
        after_s = await resumed_after_s(stage.callers, at_s)
        await until(
            lambda: all(pair.far.transport is None or pair.far.transport.is_closing() for pair in pairs),
            "the gateways have closed the old sockets",
        )
        findings = await stage.end()
    report("half-open sockets", {"next answer": spread(after_s), **findings.counts})


@pytest.mark.long
async def test_call_whose_sockets_never_come_back_ends_after_the_grace_time(cluster: ClusterFactory) -> None:
    """P8: nothing of it stays in Redis, whether its gateway lives or not."""
    async with scene(cluster) as stage:
        await stage.crowd.arrive(10)
        victim = stage.cluster.gateways[0]
        assert stage.of_gateway(victim), "some calls end with their gateway"
        stage.balancer.backends = []
        left_at_s = monotonic()
        victim.kill()
        for caller in stage.callers:
            await caller.live.leave()
        await nothing_left(stage.cluster.redis_url, limit_s=GRACE_S + 15.0)
        report("sockets that never came back", {"seconds until Redis was clean": f"{monotonic() - left_at_s:.1f}"})
        assert monotonic() - left_at_s >= GRACE_S - 1.0
