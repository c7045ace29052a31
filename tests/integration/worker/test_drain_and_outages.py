"""A worker that leaves, a Redis connection that breaks: no call and no effect is lost."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from jambonz_workers import App, Call, Event
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble, Line


def counting(started: asyncio.Event | None = None) -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return {"verb": "say", "text": "Hello"}

    @app.hook("/count")
    async def count(call: Call, event: Event) -> object:
        call.state.setdefault("seen", []).append(event.data["i"])
        return {"verb": "tag", "data": {"seen": call.state["seen"]}}

    @app.hook("/slow")
    async def slow(call: Call, event: Event) -> object:
        """Never comes back in the first worker; the next one finds it done by ``first``."""
        if started and not started.is_set():
            started.set()
            await asyncio.Event().wait()
        call.state.setdefault("seen", []).append(event.data["i"])
        return []

    return app


def seen(line: Line, msgid: str) -> list[int]:
    numbers: list[int] = line.acks[msgid][0]["data"]["seen"]
    return numbers


async def test_a_worker_that_leaves_removes_all_its_keys(start: Start, redis: Redis) -> None:
    """P8: only what is permanent by name stays."""
    running = await start(counting())
    worker_id = running.worker.id
    names = await _names(redis)
    assert names >= {f"jc:inbox:{{{worker_id}}}", f"jc:worker:{{{worker_id}}}", "jc:workers", "jc:apps"}
    assert await redis.pubsub_numsub(f"jc:alive:{{{worker_id}}}") == [(f"jc:alive:{{{worker_id}}}".encode(), 1)]
    for name in (f"jc:inbox:{{{worker_id}}}", f"jc:worker:{{{worker_id}}}"):
        assert await redis.pttl(name) > 0
    await running.stop()
    assert await _names(redis) <= {"jc:app:{default}", "jc:apps", "jc:dispatch:{default}"}


async def _names(redis: Redis) -> set[str]:
    return {key.decode() if isinstance(key, bytes) else key for key in await redis.keys("*")}


async def test_a_heartbeat_keeps_the_keys_alive(start: Start, redis: Redis) -> None:
    """The lease is over soon after the last one."""
    running = await start(counting(), heartbeat_s=0.05, lease_s=0.2)
    inbox = f"jc:inbox:{{{running.worker.id}}}"
    before = await redis.zscore("jc:workers", running.worker.id)
    assert before is not None

    async def has_outlived_its_lease() -> bool:
        now = await redis.zscore("jc:workers", running.worker.id)
        return now is not None and now - before > 600 and bool(await redis.exists(inbox))

    await until(has_outlived_its_lease, "three leases later the inbox is still there")


async def test_connection_that_reads_dispatch_is_known_before_the_next_heartbeat(start: Start, redis: Redis) -> None:
    """P6: a worker that hung in its first half second, or just after a lost connection, got what was sent to others."""
    running = await start(counting(), heartbeat_s=60, lease_s=300)
    reader, key = running.worker._dispatch, running.worker._keys.worker(running.worker.id)

    async def is_known() -> bool:
        return reader.is_up and await redis.hget(key, "reader") == str(reader.client_id).encode()

    await until(is_known, "its number is known")
    number = reader.client_id
    await redis.client_kill_filter(_id=str(number))
    await until(lambda: reader.client_id != number, "it has another connection")
    await until(is_known, "the new number is known")


async def test_an_inbox_that_vanished_is_made_again(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """Redis lost its data, or the others took us for dead."""
    running = await start(counting(), heartbeat_s=0.05)
    inbox = f"jc:inbox:{{{running.worker.id}}}"
    line = await gateway.open()
    await line.start()
    await redis.delete(inbox)

    async def is_there() -> bool:
        return bool(await redis.exists(inbox))

    await until(is_there, "the inbox is back")
    await line.hook("/count", i=1)
    await line.end()


async def test_a_draining_worker_serves_its_calls_to_their_end(start: Start, gateway: GatewayDouble) -> None:
    """It takes no new ones, says it is not ready, and leaves when the last call has ended."""
    running = await start(counting(), drain_timeout_s=60)
    line, late = await gateway.open(), await gateway.open()
    await line.start()
    stopping = asyncio.ensure_future(running.stop())
    await until(running.shutdown.drain.is_set, "the drain has begun")
    checks = running.worker.checks(running.shutdown)
    assert checks["drain"]() is not None
    await line.hook("/count", i=1)
    msgid = await late.send("session:new", {"direction": "inbound"})
    await line.hook("/count", i=2)
    await line.end()
    await stopping
    assert msgid not in late.acks
    await start(counting())
    await late.answer(msgid)
    await late.end()


async def test_a_second_signal_hastens_the_drain(start: Start, gateway: GatewayDouble) -> None:
    """The calls go to others at once."""
    running = await start(counting(), drain_timeout_s=60)
    line = await gateway.open()
    await line.start()
    stopping = asyncio.ensure_future(running.stop())
    await until(running.shutdown.drain.is_set, "the drain has begun")
    running.shutdown.haste.set()
    await stopping
    await line.wait(lambda: line.owner == "", "nobody owns the call")
    await start(counting())
    await line.hook("/count", i=1)
    await line.end()


async def test_undone_events_of_a_drained_call_go_to_the_next_worker_in_order(
    start: Start, gateway: GatewayDouble
) -> None:
    """P2, P7: the running one was cancelled before its commit, the others had not begun."""
    started = asyncio.Event()
    first = await start(counting(started))
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", {"i": 0}, hook="/slow")
    await started.wait()
    msgids = [await line.send("verb:hook", {"i": i}, hook="/count") for i in (1, 2, 3)]
    await first.stop()
    line.owner = ""
    await start(counting(started))
    await line.answer(msgids[-1])
    assert seen(line, msgids[-1]) == [0, 1, 2, 3]
    await line.end()
    await gateway.nothing_waits()


async def test_event_that_a_leaving_worker_cannot_hand_on_is_adopted(
    start: Start, gateway: GatewayDouble, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: it waits for its call's owner, which has just died, to be adopted; the worker leaves before that."""
    with monkeypatch.context() as patched:
        patched.setattr("jambonz_workers.forwarder._PAUSE_S", 60.0)
        first = await start(counting())
        line = await gateway.open()
        await redis.hset(gateway.keys.call(line.sid), mapping={"owner": "w-dead", "fence": 7})
        msgid = await line.send("session:new", {"direction": "inbound"})
        # It asks whether the owner is still watched, and waits.
        asked = first.worker.office._forwarder._absent_since_s
        await until(lambda: "w-dead" in asked, "the event is on its way to its owner")
        await first.stop()
    await redis.hset(gateway.keys.call(line.sid), mapping={"owner": "", "fence": 8})
    await start(counting(), lease_s=0.4, heartbeat_s=0.1)
    await line.answer(msgid)
    await line.end()


async def test_call_that_a_leaving_worker_gets_at_the_last_moment_is_adopted(
    start: Start, gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: its claim was answered behind the hand-over; otherwise the call would belong to a worker nobody knows of."""
    monkeypatch.setattr("jambonz_workers.forwarder._VANISHED_S", 3600.0)
    first = await start(counting())
    worker, asked = first.worker, list[Callable[[], None]]()
    claim, empty_inbox = worker.office._claims.claim, worker._empty_inbox

    async def answered_late() -> None:
        asked[0]()
        await line.answer(msgid)
        worker._sweeper.flush()
        await empty_inbox()

    monkeypatch.setattr(
        worker.office._claims, "claim", lambda sid, *, is_first: asked.append(partial(claim, sid, is_first=is_first))
    )
    monkeypatch.setattr(worker, "_empty_inbox", answered_late)
    line = await gateway.open()
    msgid = await line.send("session:new", {"direction": "inbound"})
    await until(lambda: bool(asked), "the call is claimed")
    await first.stop()
    await start(counting(), lease_s=0.4, heartbeat_s=0.1)
    await line.hook("/count", i=1)
    await line.end()


async def refuse(redis: Redis, why: str) -> None:
    """Have Redis refuse what is written to it, or take it again."""
    await redis.config_set("maxmemory", int(why == "OOM"))
    await redis.config_set("min-replicas-to-write", int(why == "NOREPLICAS"))


@pytest.mark.parametrize("why", ["OOM", "NOREPLICAS"])
async def test_calls_of_a_worker_that_leaves_while_redis_refuses_are_adopted(
    start: Start, gateway: GatewayDouble, redis: Redis, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """P6: it signed off, or struck them from what adopters find: they belonged to a worker that nobody knew."""
    monkeypatch.setattr("jambonz_workers.forwarder._VANISHED_S", 3600.0)
    first = await start(counting())
    line = await gateway.open()
    await line.answer(await line.send("session:new", {"direction": "inbound"}))
    await line.hook("/count", i=1)
    await refuse(redis, why)
    try:
        # Without an error: nobody has to look at that.
        await first.stop()
        assert await redis.hget(gateway.keys.call(line.sid), "owner") == first.worker.id.encode()
        assert await redis.sismember(gateway.keys.owned(first.worker.id), line.sid)
        assert await redis.zscore(gateway.keys.workers, first.worker.id), "it must be found dead"
    finally:
        await refuse(redis, "")
    await start(counting(), lease_s=0.4, heartbeat_s=0.1)
    assert await line.hook("/count", i=2) == [{"verb": "tag", "data": {"seen": [1, 2]}}]
    await line.end()


@pytest.mark.parametrize("why", ["OOM", "NOREPLICAS", "READONLY"])
async def test_worker_that_starts_while_redis_refuses_waits_for_it(
    start: Start, gateway: GatewayDouble, redis: Redis, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    """A gateway does, and so does a worker whose Redis is away; this one ended with exit code 1."""
    if why == "READONLY":
        await redis.replicaof("127.0.0.1", "1")
    await refuse(redis, why)
    starting = asyncio.ensure_future(start(counting()))
    try:

        def is_told() -> bool:
            told = [vars(it)["why"] for it in caplog.records if it.message == "redis refuses what is written to it"]
            return told == [why] or starting.done()

        await until(is_told, "the worker says what it waits for")
        assert not starting.done()
    finally:
        await redis.replicaof("NO", "ONE")
        await refuse(redis, "")
    await starting
    line = await gateway.open()
    await line.answer(await line.send("session:new", {"direction": "inbound"}))
    await line.end()


async def test_commits_survive_broken_connections(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """P3: each effect once, in order, whatever breaks when."""
    running = await start(counting())
    lines = [await gateway.open() for _ in range(4)]
    for line in lines:
        await line.start()
    # A connection gets its name after it was opened. All that the double needs are there before any is broken.
    await asyncio.gather(*(redis.ping() for _ in range(2 * len(lines))))
    last: dict[str, str] = {}
    for i in range(40):
        for line in lines:
            last[line.sid] = await line.send("verb:hook", {"i": i}, hook="/count")
        if i % 8 == 4:
            await _break_connections(redis)
    for line in lines:
        await line.answer(last[line.sid])
        assert seen(line, last[line.sid]) == list(range(40))
        # After a lost connection they go on beyond all that may have been lost (architecture.md section 6, restore).
        assert all(second > first for first, second in pairwise(line.seqs))
        assert len(line.batches) == len(line.acks) == 41
        await line.end()
    await until(lambda: running.worker.office.live == {}, "the worker has heard that the calls have ended")
    await until(lambda: _is_empty(running.worker), "nothing waits for Redis")
    await gateway.nothing_waits()


def _is_empty(worker: object) -> bool:
    return worker._outbox.held == 0  # type: ignore[attr-defined,no-any-return]


async def _break_connections(redis: Redis) -> None:
    """As a fail-over or a proxy does: every connection of the worker ends, in the middle of whatever it says."""
    for client in await redis.client_list():
        if client["name"] != "test":
            await redis.client_kill_filter(_id=client["id"])


async def test_a_redis_that_is_emptied_under_its_connections_is_filled_again(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """FLUSHALL: no connection breaks. App, call, state and owner are known again, before any heartbeat."""
    running = await start(counting(), heartbeat_s=60)
    line = await gateway.open()
    await line.start()
    await line.hook("/count", i=1)
    # The first heartbeat of a worker finds no inbox, the next one would be a minute away.
    running.worker._presence.look()
    await until(lambda: running.worker._presence._had_inbox, "the worker has seen its inbox")
    call, worker_id = f"jc:call:{{{line.sid}}}", running.worker.id
    await redis.flushall()

    async def is_filled() -> bool:
        hash_, apps = await redis.hgetall(call), await redis.smembers("jc:apps")
        return (hash_.get(b"owner"), hash_.get(b"s:seen"), apps) == (worker_id.encode(), b"[1]", {b"default"})

    await until(is_filled, "the worker has written down again what it knows")
    assert await redis.exists("jc:app:{default}", f"jc:inbox:{{{worker_id}}}", f"jc:owned:{{{worker_id}}}") == 3
    msgid = await line.send("verb:hook", {"i": 2}, hook="/count")
    await line.answer(msgid)
    assert seen(line, msgid) == [1, 2]
    await line.end()


async def test_what_a_handler_did_while_redis_lost_its_call_is_committed(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """P6: the commit comes before the loss is known; it is repeated behind all that the worker remembers."""
    began, may_end = asyncio.Event(), asyncio.Event()
    app = counting()

    @app.hook("/long")
    async def long(call: Call) -> object:
        began.set()
        await may_end.wait()
        call.state["seen"].append(2)
        return {"verb": "tag", "data": {"seen": call.state["seen"]}}

    running = await start(app, heartbeat_s=60)
    running.worker._presence.look()
    await until(lambda: running.worker._presence._had_inbox, "the worker has seen its inbox")
    line = await gateway.open()
    await line.start()
    await line.hook("/count", i=1)
    msgid = await line.send("verb:hook", hook="/long")
    await began.wait()
    # Not dispatch, whose reader would notice first.
    await redis.delete(f"jc:call:{{{line.sid}}}", f"jc:inbox:{{{running.worker.id}}}")
    may_end.set()
    await line.answer(msgid)
    assert seen(line, msgid) == [1, 2]
    assert await redis.hget(f"jc:call:{{{line.sid}}}", "s:seen") == b"[1,2]"
    await line.end()
