"""Order, duplicates, gaps, claims and ends, with a real Redis and a double of the gateway."""

import asyncio
from copy import deepcopy

import orjson
import pytest
from redis.asyncio import Redis

from jambonz_shared.envelope import notice
from jambonz_shared.kinds import TAKEOVER
from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import CallKeys, claim_args
from jambonz_workers import App, Call, CallGone, CallLost, Event
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble, Line

SAY = {"verb": "say", "text": "Hello"}


def counting() -> App:
    """An app whose acks tell how often and in which order its handlers ran."""
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return SAY

    @app.hook("/count")
    async def count(call: Call, event: Event) -> object:
        call.state.setdefault("seen", []).append(event.data["i"])
        return {"verb": "tag", "data": {"seen": call.state["seen"]}}

    @app.hook("/wait")
    async def wait(call: Call) -> object:
        await asyncio.Event().wait()
        return SAY

    @app.on("call:status")
    async def status(call: Call) -> None:
        call.state["status"] = call.status

    return app


async def test_events_run_in_the_order_of_their_numbers(start: Start, gateway: GatewayDouble) -> None:
    """P2: whatever way they took."""
    await start(counting())
    line = await gateway.open()
    await line.start()
    msgids = {n: await line.send("verb:hook", {"i": n}, hook="/count", n=n) for n in (4, 2, 3)}
    await line.answer(msgids[4])
    assert line.acks[msgids[4]][0]["data"]["seen"] == [2, 3, 4]
    line.n = 4
    await line.end()


async def test_an_event_that_comes_twice_has_one_effect(start: Start, gateway: GatewayDouble) -> None:
    """P3: the second entry is deleted, nothing else happens."""
    await start(counting())
    line = await gateway.open()
    await line.start()
    await line.hook("/count", i=1)
    twice = await line.send("verb:hook", {"i": 9}, hook="/count", n=2)
    assert await line.hook("/count", i=2) == [{"verb": "tag", "data": {"seen": [1, 2]}}]
    assert twice not in line.acks
    await line.end()
    await gateway.nothing_waits()


async def test_a_lost_event_holds_a_call_up_for_a_second_only(start: Start, gateway: GatewayDouble) -> None:
    """It is counted."""
    running = await start(counting())
    line = await gateway.open()
    await line.start()
    line.n += 1
    assert await line.hook("/count", i=3) == [{"verb": "tag", "data": {"seen": [3]}}]
    assert _value(running.worker.metrics.gaps) == 1
    await line.end()


async def test_event_behind_a_lost_one_runs_although_a_handler_was_busy_when_it_came(
    start: Start, gateway: GatewayDouble
) -> None:
    """The caller waits for it, and no other event need come."""
    app, may_go_on = counting(), asyncio.Event()

    @app.hook("/busy")
    async def busy(call: Call) -> None:
        await may_go_on.wait()

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.send("verb:hook", hook="/busy")
    line.n += 1
    last = await line.send("verb:hook", {"i": 4}, hook="/count")
    mailbox = running.worker.office.dispatcher.mailbox(line.sid)
    assert mailbox is not None
    await until(lambda: mailbox.wake_at_s() is not None, "the worker has seen the gap")
    may_go_on.set()
    assert await line.answer(last) == [{"verb": "tag", "data": {"seen": [4]}}]
    await line.end()


def _value(metric: object) -> float:
    (family,) = metric.collect()  # type: ignore[attr-defined]
    return sum(float(sample.value) for sample in family.samples if sample.name.endswith("_total"))


async def test_a_claim_brings_state_facts_and_what_is_done(start: Start, gateway: GatewayDouble) -> None:
    """A call that changes hands goes on where it was."""
    first = await start(counting())
    line = await gateway.open()
    await line.start({"from": "+49", "env_vars": {"A": "1"}})
    await line.hook("/count", i=1)
    await first.stop()
    assert line.owner == ""
    second = await start(counting())
    assert await line.hook("/count", i=2) == [{"verb": "tag", "data": {"seen": [1, 2]}}]
    assert line.owner == second.worker.id
    (live,) = second.worker.office.live.values()
    assert (live.call.from_, live.call.env_vars, live.call.path) == ("+49", {"A": "1"}, "/ivr")
    await line.end()


async def test_an_event_in_the_wrong_inbox_reaches_the_owner(start: Start, gateway: GatewayDouble) -> None:
    """A gateway that does not know better writes to the old owner."""
    first, second = await start(counting()), await start(counting())
    line = await gateway.open()
    await line.start()
    other = second if line.owner == first.worker.id else first
    owner, line.owner = line.owner, other.worker.id
    assert await line.hook("/count", i=1) == [{"verb": "tag", "data": {"seen": [1]}}]
    line.owner = owner
    await line.end()
    await gateway.nothing_waits()


async def test_an_event_of_a_call_that_is_over_is_dropped(
    start: Start, gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it; nothing of it stays."""
    monkeypatch.setattr("jambonz_workers.recovery._REFILL_S", 0.5)
    running = await start(counting())
    line = Line(gateway, "never-was", epoch=1)
    await line.send("verb:hook", {"i": 1}, hook="/count")
    await until(lambda: _value(running.worker.metrics.skipped) == 1, "the event is dropped")
    await gateway.nothing_waits()
    assert await gateway.owned_by(running.worker.id) == set()


async def test_a_full_worker_pulls_no_call(start: Start, gateway: GatewayDouble) -> None:
    """New calls wait for a worker with room; the end of one makes room."""
    running = await start(counting(), max_calls=1)
    first, second = await gateway.open(), await gateway.open()
    await first.start()
    msgid = await second.send("session:new", {"direction": "inbound"})
    assert "room" in {name for name, check in running.worker.checks(running.shutdown).items() if check()}
    await first.hook("/count", i=1)
    assert msgid not in second.acks
    await first.end()
    assert await second.answer(msgid) == [SAY]
    await second.end()


async def test_the_end_runs_the_end_handler_and_leaves_nothing(start: Start, gateway: GatewayDouble) -> None:
    """P8: in its turn, after the events before it."""
    app, ended = counting(), asyncio.Queue[list[int]]()

    @app.on_end
    async def on_end(call: Call) -> None:
        ended.put_nowait(call.state["seen"])

    running = await start(app)
    line = await gateway.open()
    await line.start()
    for i in range(3):
        await line.send("verb:hook", {"i": i}, hook="/count")
    await line.end()
    assert ended.get_nowait() == [0, 1, 2]
    assert running.worker.office.live == {}
    assert await gateway.owned_by(running.worker.id) == set()
    assert not await gateway.redis.exists(gateway.keys.call(line.sid))


async def test_the_last_socket_that_leaves_behind_the_final_status_ends_the_call(
    start: Start, gateway: GatewayDouble
) -> None:
    """The socket of a redirect verb may be closed last, and its gateway has heard no status (PROTOCOL.md 2.5)."""
    await start(counting())
    line = await gateway.open()
    await line.start()
    await line.send("call:status", {"call_status": "completed"})
    await line.detach()
    await line.publish("cluster:detached")
    await until(lambda: line.is_ended, "the end of the call")
    await line.leave()
    await gateway.nothing_waits()


async def test_an_end_that_comes_too_early_does_not_end_the_call(start: Start, gateway: GatewayDouble) -> None:
    """Another Connection has come meanwhile."""
    await start(counting())
    line = await gateway.open()
    await line.start()
    await line.publish("cluster:ended")
    assert await line.hook("/count", i=1) == [{"verb": "tag", "data": {"seen": [1]}}]
    await line.end()


async def test_a_worker_that_lost_a_call_cannot_act_on_it(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """P5: its background work ends, and the event goes to the new owner."""
    app, errors = counting(), asyncio.Queue[Exception]()

    async def watch(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            errors.put_nowait(call.over or RuntimeError("not over"))
            raise

    @app.hook("/watch")
    async def hook(call: Call) -> None:
        call.spawn(watch(call))

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.hook("/watch")
    await _steal(line, redis, "thief")
    line.owner = running.worker.id
    msgid = await line.send("verb:hook", {"i": 1}, hook="/count")
    error = await asyncio.wait_for(errors.get(), 10)
    assert isinstance(error, CallLost)
    assert (error.call_sid, error.owner) == (line.sid, "thief")
    assert msgid not in line.acks
    assert running.worker.office.live == {}
    # The thief does not exist; once somebody has adopted its calls, the event is handled after all.
    await redis.hset(gateway.keys.call(line.sid), "owner", "")
    assert await line.answer(msgid) == [{"verb": "tag", "data": {"seen": [1]}}]
    await line.end()


async def _steal(line: Line, redis: Redis, worker_id: str) -> None:
    keys = CallKeys.of(line.gateway.keys, line.sid)
    await redis.hset(keys.call, "owner", "")
    names, args = claim_args(keys, worker_id, line.gateway.app)
    await redis.eval(script.CLAIM.source.decode(), len(names), *names, *args)


async def test_a_call_that_vanished_is_dropped(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """Its TTL ran out, or an operator deleted it: background work is cancelled at its next command."""
    app, errors = counting(), asyncio.Queue[Exception]()

    async def act(call: Call) -> None:
        try:
            while True:
                await call.mute()
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            errors.put_nowait(call.over or RuntimeError("not over"))
            raise

    @app.hook("/act")
    async def hook(call: Call) -> None:
        call.spawn(act(call))

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.hook("/act")
    await line.forget()
    error = await asyncio.wait_for(errors.get(), 10)
    assert isinstance(error, CallGone)
    await until(lambda: not running.worker.office.live, "the worker forgets the call")


async def test_bodies_that_cannot_be_read_are_acked_and_counted(start: Start, gateway: GatewayDouble) -> None:
    """P9: whatever jambonz or a caller sends."""
    running = await start(counting())
    line = await gateway.open()
    await line.start()
    await line.publish("verb:hook", b"\xff{", msgid="broken")
    assert await line.answer("broken") == []
    await line.publish("call:status", b"[]")
    assert await line.hook("/count", i=1) == [{"verb": "tag", "data": {"seen": [1]}}]
    await gateway.redis.xadd(gateway.keys.inbox(line.owner), {"e": b"rubbish"})
    await until(lambda: _value(running.worker.metrics.skipped) == 3, "three are counted")
    await line.end()
    await gateway.nothing_waits()


async def test_one_entry_may_carry_events_of_many_calls(start: Start, gateway: GatewayDouble) -> None:
    """It is deleted when all of them are done."""
    await start(counting())
    lines = [await gateway.open() for _ in range(3)]
    body = {"type": "session:new", "data": {"direction": "inbound"}}
    raws = [line.envelope("session:new", orjson.dumps(body), f"m-{line.sid}", 1) for line in lines]
    entry = [part for raw in raws for part in ("e", raw)]
    dispatch = gateway.keys.dispatch("default")
    await gateway.redis.execute_command("XADD", dispatch, "*", *entry)  # type: ignore[no-untyped-call]
    for line in lines:
        line.n = 1
        assert await line.answer(f"m-{line.sid}") == [SAY]
    await gateway.nothing_waits()
    for line in lines:
        await line.end()


async def test_a_leg_is_a_call_of_its_own(start: Start, gateway: GatewayDouble) -> None:
    """Its handlers get its own Call, which names its parent."""
    app, seen = counting(), asyncio.Queue[tuple[str, str, str]]()

    @app.hook("/confirm")
    async def confirm(call: Call) -> object:
        seen.put_nowait((call.sid, call.parent_call_sid, call.direction))
        return []

    await start(app)
    parent, leg = await gateway.open(), await gateway.open()
    await parent.start()
    leg.owner = parent.owner
    await leg.ask("dial:confirm", {"parent_call_sid": parent.sid, "direction": "outbound"}, hook="/confirm")
    assert seen.get_nowait() == (leg.sid, parent.sid, "outbound")
    await leg.end()
    await parent.end()


async def test_a_long_answer_arrives_in_parts_and_in_order(start: Start, gateway: GatewayDouble) -> None:
    """P10: what fits in the ack, the rest appended."""
    app = counting()
    verbs = [{"verb": "say", "text": f"{i}:" + "x" * 1000} for i in range(60)]

    @app.hook("/big")
    async def big(call: Call) -> object:
        call.mute()
        return verbs

    await start(app)
    line = await gateway.open()
    await line.start()
    played = await line.hook("/big")
    *parts, last = line.frames
    assert played + [verb for frame in parts for verb in frame["data"]] == verbs
    assert [frame["queueCommand"] for frame in parts] == [True, True]
    assert last["command"] == "mute:status"
    assert len(line.batches) == 2
    await line.end()


async def test_background_work_sends_commands_in_order(start: Start, gateway: GatewayDouble) -> None:
    """After the ack of the handler that started it, each in a batch of its own."""
    app = counting()

    async def tick(call: Call) -> None:
        for i in range(20):
            await call.redirect([{"verb": "tag", "data": {"i": i}}], queue=True)
        call.state["done"] = True

    @app.hook("/stream")
    async def stream(call: Call) -> object:
        call.spawn(tick(call))
        return SAY

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.hook("/stream")
    await line.wait(lambda: len(line.frames) == 20, "20 commands")
    assert [frame["data"][0]["data"]["i"] for frame in line.frames] == list(range(20))
    assert [seq - line.seqs[0] for seq in line.seqs] == list(range(22))
    (live,) = running.worker.office.live.values()
    await until(lambda: not live.call.works.running, "the work has ended")

    async def is_saved() -> bool:
        return await gateway.redis.hget(gateway.keys.call(line.sid), "s:done") == b"true"

    await until(is_saved, "the state of the work is saved")
    await line.end()


@pytest.mark.parametrize(
    ("epochs_before", "told"),
    [
        pytest.param([7], [{"seen": [1]}], id="another_owner_had_begun"),
        pytest.param([], [], id="the_first_owner_died_before_it_had_begun"),
    ],
)
async def test_a_takeover_is_told_once_and_only_if_there_was_something_to_take_over(
    start: Start, gateway: GatewayDouble, epochs_before: list[int], told: list[object]
) -> None:
    """So that background work can be resumed by another worker, and does not run twice if the adoption was repeated."""
    app, seen = counting(), []

    @app.takeover
    async def resume(call: Call) -> None:
        seen.append(deepcopy(dict(call.state)))

    await start(app)
    line = await gateway.open()
    for epoch in epochs_before:
        await gateway.redis.hset(gateway.keys.call(line.sid), f"d:{epoch}", "3")
    await line.start()
    await line.hook("/count", i=1)
    for _ in range(2):
        await gateway.redis.xadd(gateway.keys.inbox(line.owner), {"e": notice(line.sid, TAKEOVER, 0).encode()})
    await line.hook("/count", i=2)
    assert seen == told
    await line.end()


async def test_status_and_facts_are_kept_for_everybody(start: Start, gateway: GatewayDouble) -> None:
    """Supervisors and later owners read them."""
    await start(counting())
    line = await gateway.open()
    await line.start({"from": "+49", "call_status": "trying"})
    await line.send("call:status", {"call_status": "in-progress"})
    await line.hook("/count", i=1)
    fields = await gateway.redis.hgetall(gateway.keys.call(line.sid))
    assert fields[b"status"] == b"in-progress"
    assert orjson.loads(fields[b"facts"]) == {"direction": "inbound", "from": "+49", "to": "+2", "begun_at_ms": 0}
    assert fields[b"s:status"] == b'"in-progress"'
    await line.end()


@pytest.mark.both_redis
async def test_a_whole_call_on_every_redis(start: Start, gateway: GatewayDouble) -> None:
    """The oldest Redis that is supported runs the same scripts and streams."""
    await start(counting())
    line = await gateway.open()
    assert await line.start() == [SAY]
    for i in range(5):
        await line.hook("/count", i=i)
    await line.end()
