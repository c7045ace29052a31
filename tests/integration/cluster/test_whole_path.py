"""Whole calls through real gateway and worker processes and a real Redis."""

import asyncio

import pytest
import redis.asyncio as redis_py

from jambonz_gateway.apps import DEFAULT_APP
from jambonz_shared.errors import CallGone, MessageTooBig
from jambonz_shared.keys import Keys
from jambonz_shared.wire import MAX_MESSAGE_BYTES
from jambonz_simulator.client import CallOptions, live_call
from jambonz_simulator.core.script import Press, Script, StaySilent
from jambonz_simulator.fleet import Load, run_fleet
from jambonz_workers import Calls
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.conditions import LIMIT_S, until
from tests.redis_servers import look_into

KEYS = Keys()
FAST = CallOptions(speed=20)

# Through the menu of examples/ivr.py: no input, the opening hours, the operator (a B leg); the app hangs up after that.
THROUGH_THE_MENU = Script(steps=(StaySilent(), Press("1"), Press("2")))
HOOKS = 5


async def owners(redis_url: str) -> dict[str, int]:
    """Return how many calls each worker owns."""
    async with Calls.connect(redis_url) as calls:
        counts: dict[str, int] = {}
        for call in await calls.list():
            counts[call.owner] = counts.get(call.owner, 0) + 1
        return counts


async def keys_of_calls(redis_url: str) -> list[str]:
    """Return what is in Redis because of calls, entries of streams included."""
    async with look_into(redis_url) as client:
        found = [key async for key in client.scan_iter("jc:call:*")]
        for pattern in ("jc:owned:*", "jc:held:*"):
            found += [f"{key}: {await client.smembers(key)}" async for key in client.scan_iter(pattern)]
        streams = [key async for key in client.scan_iter("jc:inbox:*")]
        streams += [key async for key in client.scan_iter("jc:dispatch:*")]
        return found + [f"{key}: {length} entries" for key in streams if (length := await client.xlen(key))]


async def nothing_is_left(redis_url: str) -> None:
    """Wait until the last call has left Redis."""

    async def is_clean() -> bool:
        return not await keys_of_calls(redis_url)

    await until(is_clean, "no key of any call is left in Redis and all streams are empty")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
async def test_a_hundred_calls_a_second_are_answered_in_order_and_leave_nothing(
    cluster: ClusterFactory, redis_url: str, count: int
) -> None:
    """Through 2 gateways and 2 workers: no deadline missed, Redis empty afterwards."""
    running = await cluster("examples.ivr:app", gateways=2, workers=2)
    loads = [run_fleet(f"{g.url}/ivr", THROUGH_THE_MENU, Load(count // 2, 50.0), FAST) for g in running.gateways]
    for summary in await asyncio.gather(*loads):
        assert summary.is_good, summary.failures
        assert summary.outcomes == {"completed": count // 2}
        # A caller whose time has run out before it could press, on a crowded machine, is asked once more.
        assert summary.acked == summary.hooks >= count // 2 * HOOKS
        assert (summary.out_of_order, summary.duplicate_acks, summary.late_acks) == (0, 0, 0)
    await nothing_is_left(redis_url)


@pytest.mark.cluster_too(others_are_long=True)
async def test_calls_spread_over_workers_and_a_new_worker_helps_at_once(
    cluster: ClusterFactory, redis_url: str
) -> None:
    """New calls are pulled by whoever has room; live ones stay where they are."""
    running = await cluster("examples.conformance:app", gateways=1, workers=2)
    # A worker may read four at once, and then eight, before a slower one has begun: of a dozen one could take all.
    async with many_live_calls(running, 30):
        before = await owners(redis_url)
        assert len(before) == 2, f"expected both workers to have calls, got {before}"
        third = running.add_worker()
        await third.wait_ready()

        async with many_live_calls(running, 40):
            after = await owners(redis_url)
            assert len(after) == 3, f"expected three workers with calls, got {after}"
            assert {worker: after[worker] for worker in before}.keys() == before.keys()
            assert all(after[worker] >= count for worker, count in before.items()), "a live call has moved"
    await nothing_is_left(redis_url)


class many_live_calls:  # noqa: N801 used like a function, with ``async with``
    """Calls that wait in their first gather; hung up at the end of the block."""

    def __init__(self, running: Cluster, count: int) -> None:
        self._url = f"{running.url}/conformance"
        self._count = count
        self._release = asyncio.Event()
        self._group: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        ready = [asyncio.Event() for _ in range(self._count)]
        self._group = [asyncio.create_task(self._hold(event)) for event in ready]
        async with asyncio.timeout(20):
            await asyncio.gather(*(event.wait() for event in ready))

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await asyncio.gather(*self._group)

    async def _hold(self, ready: asyncio.Event) -> None:
        async with live_call(self._url, Script()) as call:
            await call.wait_for_verb("gather")
            ready.set()
            await self._release.wait()
            call.hang_up()
            await call.wait_for_end()


@pytest.mark.both_redis
@pytest.mark.cluster_too
async def test_any_process_commands_a_call_until_it_ends(cluster: ClusterFactory, redis_url: str) -> None:
    """A process that is neither gateway nor owner takes a call over; afterwards it is told that the call is gone."""
    running = await cluster("examples.conformance:app")
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/conformance", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        remote = await calls.get(call.call_sid)
        outcome = await remote.redirect([{"verb": "say", "text": "somebody else speaks"}])
        assert outcome.kind.value == "sent"
        await call.wait_for_command("redirect")
        call.hang_up()
        await call.wait_for_end()
        await nothing_is_left(redis_url)
        with pytest.raises(CallGone):
            await remote.redirect([{"verb": "say", "text": "too late"}])
        with pytest.raises(CallGone):
            await calls.get(call.call_sid)


@pytest.mark.cluster_too(others_are_long=True)
async def test_long_verb_list_is_split_and_a_verb_too_big_is_refused_but_acked(
    cluster: ClusterFactory, redis_url: str
) -> None:
    """Above 24,576 bytes jambonz closes the socket (pitfall 2), so no message comes near."""
    running = await cluster("examples.conformance:app")
    async with live_call(f"{running.url}/conformance", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        hook = await call.send_hook("/big", args={"n": 10, "size": 8000})
        first = [verb["text"][:2] for verb in hook.data]

        def texts() -> list[str]:
            appended = [verb for command in call.commands for verb in command.data]
            return first + [verb["text"][:2] for verb in appended]

        await until(lambda: len(texts()) >= 10, "all ten verbs have come")
        assert 0 < len(first) < 10
        assert texts() == [f"{i}:" for i in range(10)], "what fits is in the ack, the rest is appended in order"
        assert all(command.queue_command for command in call.commands)

        too_big = await call.send_hook("/big", args={"n": 1, "size": 30_000})
        assert too_big.data in ([], None), "its hook is acked all the same"
        worker = running.workers[0]
        told = (MessageTooBig.__name__, str(MAX_MESSAGE_BYTES), "30237 bytes")
        await until(
            lambda: all(part in worker.log_text for part in told), "the developer reads the error with both sizes"
        )
        call.hang_up()
        await call.wait_for_end()
    await nothing_is_left(redis_url)


async def test_dispatch_stream_of_an_app_without_calls_is_empty(cluster: ClusterFactory, redis_url: str) -> None:
    """Workers that wait for calls leave nothing but what names them."""
    await cluster("examples.hello:app", workers=2)
    async with redis_py.Redis.from_url(redis_url) as client:
        assert await client.xlen(KEYS.dispatch(DEFAULT_APP)) == 0
    assert await keys_of_calls(redis_url) == []


@pytest.mark.long
async def test_call_that_ended_while_a_hook_opened_a_socket_leaves_nothing(
    cluster: ClusterFactory, redis_url: str
) -> None:
    """P8, pitfall 31: the caller presses a key while the socket is lost, and hangs up before the next one is open."""
    running = await cluster("examples.ivr:app", settings={"JAMBONZ_CLUSTER_CALL_GRACE": "15s"})
    # Not faster: jambonz would give the handshake up after 75 ms, which a busy machine needs now and then.
    async with live_call(f"{running.url}/ivr", options=CallOptions(speed=4)) as call:
        await call.wait_for_verb("gather")
        call.drop_socket()
        await call.press("1")
        call.hang_up()
        await call.wait_for_end()
        assert call.core.session.requestor.sockets(), "jambonz has sent the hook, and leaves the socket open"
        assert await call.wait_for_reaping(LIMIT_S)
        kinds = [entry.frame.get("type") for entry in call.core.world.ledger.entries if entry.connection == 2]
    assert kinds == [None, "verb:hook", "ack", None], "opened, asked, answered, closed"
    await nothing_is_left(redis_url)
