"""Workers that take each other for dead although both live: calls move, nothing is lost (P3, P5, P6)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_workers import App, Call, Event
from jambonz_workers.adoption import Adopted, Adopter
from jambonz_workers.redelivery import mark_of
from tests.conditions import until
from tests.integration.worker.conftest import Running, Start
from tests.integration.worker.gateway_double import GatewayDouble

KEYS = Keys()
DISPATCH = KEYS.dispatch("default")
LEASE_MS = 2_000

Adopters = Callable[[str], Adopter]


@pytest.fixture
async def adopters(redis_url: str) -> AsyncIterator[Adopters]:
    """Adopters that work for the worker of an id."""
    link = Link(UrlEndpoint(redis_url))
    running = asyncio.create_task(link.run())
    await link.wait_up()
    yield lambda me: Adopter(link, KEYS, me, grace_ms=60_000, lease_ms=LEASE_MS, now_ms=lambda: 0)
    running.cancel()
    await asyncio.wait([running])


def counting(gates: dict[str, asyncio.Event]) -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        gates[call.sid] = asyncio.Event()
        return {"verb": "say", "text": "Hello"}

    @app.hook("/count")
    async def count(call: Call, event: Event) -> object:
        await gates[call.sid].wait()
        call.state["seen"] = [*call.state.get("seen", []), event.data["i"]]
        return {"verb": "tag", "data": {"seen": call.state["seen"]}}

    return app


def owned_by(workers: Sequence[Running]) -> list[str]:
    return [sid for running in workers for sid in running.worker.office.live]


async def test_workers_that_adopt_each_other_lose_nothing(
    start: Start, gateway: GatewayDouble, redis: Redis, adopters: Adopters
) -> None:
    """Both were cut off for a moment. Hooks under way are answered, later ones as ever."""
    gates: dict[str, asyncio.Event] = {}
    workers = [await start(counting(gates), heartbeat_s=0.1) for _ in range(2)]
    lines = [await gateway.open() for _ in range(12)]
    for line in lines:
        await line.start()
    assert all(running.worker.office.live for running in workers), "both have calls"
    asked = {line: await line.send("verb:hook", {"i": 1}, hook="/count") for line in lines}
    first, second = (running.worker.id for running in workers)
    adopted = await asyncio.gather(adopters(first).adopt_worker(second), adopters(second).adopt_worker(first))
    assert None not in adopted
    assert sum(one.calls for one in adopted if one) == len(lines)
    for gate in gates.values():
        gate.set()
    for line, msgid in asked.items():
        assert await line.answer(msgid) == [{"verb": "tag", "data": {"seen": [1]}}]
        assert await line.hook("/count", i=2) == [{"verb": "tag", "data": {"seen": [1, 2]}}]
    await until(lambda: sorted(owned_by(workers)) == sorted(line.sid for line in lines), "each call has one owner")
    for running in workers:
        worker_id = running.worker.id
        assert await redis.exists(KEYS.inbox(worker_id)), "its inbox is back"
        await until(lambda it=worker_id: owned_is_right(gateway, workers, it), "adopters would find its calls")
    await nothing_waits(redis)
    for line in lines:
        await line.end()


async def owned_is_right(gateway: GatewayDouble, workers: Sequence[Running], worker_id: str) -> bool:
    mine = next(running.worker.office.live for running in workers if running.worker.id == worker_id)
    return await gateway.owned_by(worker_id) == set(mine)


async def nothing_waits(redis: Redis) -> None:
    """No entry of dispatch is unread, or pending for somebody who does not know of it."""

    async def is_empty() -> bool:
        return not await redis.xlen(DISPATCH)

    await until(is_empty, "every event in dispatch is handled")


async def test_what_a_living_worker_takes_up_while_it_is_adopted_stays_its_own(
    redis: Redis, adopters: Adopters, gateway: GatewayDouble
) -> None:
    """It makes its inbox anew, claims a call and reads an event; if it then dies indeed, all of that is adopted."""
    worker, late = "w-slow", "call-late"
    await lives(redis, worker)
    adopter = adopters("w-other")
    committed = adopter._committed

    async def meanwhile(envelopes: Sequence[Envelope]) -> dict[tuple[str, int], int]:
        await lives(redis, worker)
        await redis.xadd(KEYS.inbox(worker), {"e": event("call-early")}, nomkstream=True)
        await redis.sadd(KEYS.owned(worker), late)
        await redis.xadd(DISPATCH, {"e": event(late)})
        await redis.xreadgroup(GROUP, worker, {DISPATCH: ">"})
        return await committed(envelopes)

    adopter._committed = meanwhile  # type: ignore[method-assign]
    assert await adopter.adopt_worker(worker) == Adopted(0, 0)
    adopter._committed = committed  # type: ignore[method-assign]
    assert await redis.zscore(KEYS.workers, worker), "it beats: others watch it still"
    assert await redis.xlen(KEYS.inbox(worker)) == 1
    assert await redis.sismember(KEYS.owned(worker), late)
    assert (await redis.xpending(DISPATCH, GROUP))["pending"] == 1
    # Now it dies.
    line = await gateway.open(late)
    await redis.hset(KEYS.call(late), mapping={"owner": worker, "fence": 7})
    await redis.zadd(KEYS.workers, {worker: 1})
    await redis.delete(KEYS.adopting(worker))
    assert await adopter.adopt_worker(worker) == Adopted(1, 2, is_first=False)
    assert not await redis.exists(KEYS.inbox(worker), KEYS.owned(worker), KEYS.taken(worker))
    assert await redis.zscore(KEYS.workers, worker) is None
    assert await redis.hget(KEYS.call(late), "owner") == b""
    # Through a script: redis-py's dict of fields would keep one Envelope of an entry only.
    entries: Any = await redis.eval("return redis.call('XRANGE', KEYS[1], '-', '+')", 1, DISPATCH)
    events = [[Envelope.decode(raw) for raw in fields[1::2]] for _, fields in entries]
    assert sorted([(it.call_sid, it.kind) for it in entry] for entry in events) == [
        [("call-early", "verb:hook")],
        [(late, "cluster:takeover"), (late, "verb:hook")],
    ]
    assert (await redis.xinfo_consumers(DISPATCH, GROUP)) == []
    await redis.delete(DISPATCH)
    await line.forget()


async def test_what_the_read_of_a_hung_worker_swallows_is_adopted_once_more(
    redis: Redis, adopters: Adopters, gateway: GatewayDouble
) -> None:
    """It hung before it had told by which connection it reads, so nobody has ended its read."""
    worker = "w-hung"
    await lives(redis, worker)
    line = await gateway.open()
    await redis.hset(KEYS.call(line.sid), mapping={"owner": worker, "fence": 7})
    await redis.sadd(KEYS.owned(worker), line.sid)
    await redis.zadd(KEYS.workers, {worker: 1})
    blocked: asyncio.Future[Any] = asyncio.ensure_future(redis.xreadgroup(GROUP, worker, {DISPATCH: ">"}, block=60_000))

    async def is_blocked() -> bool:
        return bool((await redis.info("clients"))["blocked_clients"])

    await until(is_blocked, "its read waits")
    adopter = adopters("w-other")
    assert await adopter.adopt_worker(worker) == Adopted(1, 0)
    assert len((await blocked)[0][1]) == 1, "it has got what was for the others"
    assert await redis.zscore(KEYS.workers, worker), "it is overdue still"
    await redis.delete(KEYS.adopting(worker))
    assert await adopter.adopt_worker(worker) == Adopted(0, 1, is_first=False)
    assert await redis.zscore(KEYS.workers, worker) is None
    found: Any = await redis.xreadgroup(GROUP, "w-other", {DISPATCH: ">"})
    ((_, read),) = found
    assert [Envelope.decode(fields[b"e"]).kind for _, fields in read] == ["cluster:takeover"]
    await redis.delete(DISPATCH)
    await line.forget()


async def lives(redis: Redis, worker_id: str) -> None:
    """Do as a worker's heartbeat does."""
    seconds, micros = await redis.time()
    await redis.zadd(KEYS.workers, {worker_id: seconds * 1000 + micros // 1000})
    await redis.hset(KEYS.worker(worker_id), mapping={"app": "default"})
    await redis.pexpire(KEYS.worker(worker_id), LEASE_MS * 10)
    for key in (KEYS.inbox(worker_id), DISPATCH):
        if not await redis.exists(key):
            await redis.xgroup_create(key, GROUP, mkstream=True)
    await redis.pexpire(KEYS.inbox(worker_id), LEASE_MS * 10)


def event(call_sid: str) -> bytes:
    """Return an event that is not handled yet."""
    return Envelope(call_sid, 1, 1, "verb:hook", "m1", 0, "g1", is_acked=False, body=b"{}").encode()


async def test_call_whose_owner_nobody_watches_any_more_gets_another(
    start: Start, gateway: GatewayDouble, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis without its last second may name an owner that has been adopted already."""
    monkeypatch.setattr("jambonz_workers.forwarder._VANISHED_S", 0.2)
    gates: dict[str, asyncio.Event] = {}
    running = await start(counting(gates))
    line = await gateway.open()
    await line.start()
    gates[line.sid].set()
    await redis.hset(gateway.keys.call(line.sid), "owner", "w-gone")
    await redis.hincrby(gateway.keys.call(line.sid), "fence", 1)
    line.owner = ""
    assert await line.hook("/count", i=1) == [{"verb": "tag", "data": {"seen": [1]}}]
    assert list(running.worker.office.live) == [line.sid]
    await line.end()


@pytest.mark.parametrize("leader", [0, 1], ids=["alone", "behind_a_suspect"])
async def test_concurrent_handler_over_which_workers_have_died_is_begun_in_its_turn(
    leader: int, start: Start, gateway: GatewayDouble, redis: Redis, redis_url: str
) -> None:
    """Written down, as all suspects: one that kills would otherwise do so with worker after worker, and never count."""
    app, seen = App(), list[object]()

    @app.on("verb:status")
    async def leads(call: Call) -> None:
        await asyncio.sleep(0)

    @app.on("llm:event", concurrent=True)
    async def kills(call: Call) -> None:
        # At once, as it would kill: what is written by now is all that an adopter finds.
        with SyncRedis.from_url(redis_url) as client:
            seen.append(client.smembers(KEYS.begun(running.worker.id)))

    running = await start(app)
    line = await gateway.open()
    kinds = [*["verb:status"] * leader, "llm:event"]
    events = [Envelope.decode(line.envelope(kind, b"{}", "", n)) for n, kind in enumerate(kinds, 1)]
    events[0] = replace(events[0], deaths=1)
    await redis.execute_command("XADD", DISPATCH, "*", *(part for it in events for part in (b"e", it.encode())))  # type: ignore[no-untyped-call]
    await until(lambda: bool(seen), "the handler has run")
    assert seen == [{mark_of(events[-1]).encode()}]
    await gateway.nothing_waits()
    line.n = len(kinds)
    await line.end()


async def test_concurrent_handler_of_a_quarantined_event_is_not_run(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """It has killed three workers."""
    app, seen = App(), list[str]()

    @app.on("llm:event", concurrent=True)
    async def kills(call: Call) -> None:
        seen.append(call.sid)

    await start(app)
    line = await gateway.open()
    killing = replace(Envelope.decode(line.envelope("llm:event", b"{}", "", 1)), deaths=3, is_quarantined=True)
    await redis.xadd(DISPATCH, {"e": killing.encode()})
    line.n = 1
    await line.hook("/after")
    await line.end()
    assert seen == []
