"""Calls that are taken away in the middle of a handler, commits that Redis refuses, a worker's own frame."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from jambonz_shared.config import WorkerSettings
from jambonz_shared.directive import Command
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.runtime.signals import Shutdown
from jambonz_workers import App, Call, CallGone, CallLost, Event
from jambonz_workers.effects import Commit
from jambonz_workers.worker import run
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble

SAY = {"verb": "say", "text": "Hello"}


async def test_an_error_of_one_call_is_not_the_context_of_anothers(start: Start, gateway: GatewayDouble) -> None:
    """Compiled code that waited while it handled an exception would show it to every other call (ADR 0013)."""
    app, is_waiting, may_go_on = App(), asyncio.Event(), asyncio.Event()
    app.on("session:new")(_welcome)
    seen: list[Exception] = []

    @app.hook("/{name}")
    async def fail(call: Call, event: Event) -> object:
        raise LookupError(event.hook)

    @app.on_error
    async def failed(call: Call, event: Event, error: Exception) -> None:
        seen.append(error)
        if event.hook == "/first":
            is_waiting.set()
            await may_go_on.wait()

    await start(app)
    first, second = await gateway.open(), await gateway.open()
    await first.start()
    await second.start()
    msgid = await first.send("verb:hook", hook="/first")
    await is_waiting.wait()
    await second.hook("/second")
    may_go_on.set()
    await first.answer(msgid)
    await first.end()
    await second.end()
    assert [(str(error), error.__context__) for error in seen] == [("/first", None), ("/second", None)]


async def test_a_handler_is_cancelled_when_its_call_is_lost(start: Start, gateway: GatewayDouble, redis: Redis) -> None:
    """A command finds it out; the event is handled again by the new owner, who sees nothing of it."""
    app = App()
    app.on("session:new")(_welcome)
    runs: list[str] = []

    @app.hook("/wait")
    async def wait(call: Call) -> object:
        runs.append("begun")
        call.state["half"] = True
        if len(runs) > 1:
            return {"verb": "tag", "data": dict(call.state)}
        try:
            await asyncio.Event().wait()
        finally:
            runs.append("cancelled")
        return SAY

    running = await start(app)
    line = await gateway.open()
    await line.start()
    msgid = await line.send("verb:hook", hook="/wait")
    await until(lambda: runs == ["begun"], "the handler runs")
    # Nobody owns it: what an adopter leaves behind that took this worker for dead.
    key = gateway.keys.call(line.sid)
    await redis.hset(key, "owner", "")
    await redis.hincrby(key, "fence", 1)
    line.owner = ""
    (live,) = running.worker.office.live.values()
    with pytest.raises(CallLost):
        await live.call.mute()
    assert await line.answer(msgid) == [{"verb": "tag", "data": {"half": True}}]
    assert runs == ["begun", "cancelled", "begun"]
    await line.end()


async def _welcome(call: Call) -> object:
    return SAY


async def test_a_commit_that_redis_refuses_is_logged_and_loses_no_other_call(
    start: Start,
    gateway: GatewayDouble,
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key of the wrong type stands for whatever no repetition would cure."""
    monkeypatch.setattr("jambonz_workers.recovery._REFILL_S", 0.5)
    app = App()
    app.on("session:new")(_welcome)
    running = await start(app)
    broken, sound = await gateway.open(), await gateway.open()
    assert await broken.start() == [SAY]
    await redis.set(gateway.keys.call(broken.sid), "no hash", px=60_000)
    await broken.send("verb:hook", hook="/any")
    await until(lambda: running.worker.metrics.tally.commits.get("failed") == 1, "the refusal is counted")
    [told] = [record for record in caplog.records if record.message == "commit refused by redis"]
    # Its text may repeat what was written.
    assert (told.__dict__["why"], told.exc_info) == ("WRONGTYPE", None)
    assert await sound.start() == [SAY]
    await broken.forget()
    await gateway.nothing_waits()
    await sound.end()


async def test_commands_of_background_work_are_refused_while_too_many_wait(
    start: Start, gateway: GatewayDouble, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """P4: jambonz is away and the work goes on; it is told, and so is the log, once."""
    app, outcomes, may_go_on = App(), list[Outcome](), asyncio.Event()

    async def work(call: Call) -> None:
        await may_go_on.wait()
        while len(outcomes) < 1010:
            outcomes.append(await call.mute())

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        call.spawn(work(call))
        return SAY

    running = await start(app)
    line = await gateway.open()
    await line.start()
    await line.leave()
    await line.detach()
    may_go_on.set()
    await until(lambda: len(outcomes) == 1010, "the work has not waited")
    assert [it.kind for it in outcomes] == [OutcomeKind.QUEUED] * 1000 + [OutcomeKind.REFUSED] * 10
    assert outcomes[-1].reason == "1000 batches wait for the call's websocket"
    assert running.worker.metrics.tally.commits["full"] == 10
    assert caplog.messages.count("commands are refused: too many wait for the call's websocket") == 1
    await line.publish("cluster:ended")
    await until(lambda: not running.worker.office.live, "the call has ended")


async def test_a_command_to_a_call_that_is_over_raises(start: Start, gateway: GatewayDouble) -> None:
    """A reference to the Call may be kept longer than the call."""
    app, kept = App(), list[Call]()

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        kept.append(call)
        return SAY

    await start(app)
    line = await gateway.open()
    await line.start()
    await line.end()
    with pytest.raises(CallGone):
        await kept[0].hangup()
    work = kept[0].spawn(_forever())
    assert work.is_done


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_a_worker_opens_the_lifespan_before_it_takes_calls(redis_url: str, gateway: GatewayDouble) -> None:
    """And closes it after the last one was handed over."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        seen.append(f"open, a call lives: {await app.calls.exists('c')}")
        yield
        seen.append("close")

    app = App(lifespan=lifespan)

    @app.on("session:new")
    async def welcome(call: Call) -> object:
        seen.append("call")
        return SAY

    shutdown = Shutdown()
    settings = WorkerSettings.model_validate({"redis_url": redis_url, "internal_port": 0})
    task = asyncio.create_task(run(app, settings, shutdown))
    line = await gateway.open()
    await line.start()
    await line.end()
    shutdown.request()
    await task
    assert seen == ["open, a call lives: False", "call", "close"]


async def test_commits_of_a_call_keep_their_order_when_memory_comes_back_between_them(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """P4, P6: of an event, of background work and of an event on the next websocket, each numbered by itself."""
    app = App()
    app.on("session:new")(_welcome)
    office = (await start(app)).worker.office
    line = await gateway.open()
    await line.start()
    await line.hook("/any")
    [live] = office.live.values()
    link, errors = office._claims._outbox.link, list[object]()
    commits = [(line.epoch, 3), (-live.ownership.fence, 1), (line.epoch, 4), (line.epoch + 1, 1), (line.epoch, 5)]
    link.send(errors.append, "CONFIG", "SET", "maxmemory", 1)
    for number, (series, n) in enumerate(commits):
        command = Command(str(number), b"%d" % number)
        office.commit(live.call, Commit(series, n, [command], state=[("x", b"%d" % number)]), errors.append)
        if number % 2 == 0:
            link.send(errors.append, "CONFIG", "SET", "maxmemory", 0)
        else:
            link.send(errors.append, "CONFIG", "SET", "maxmemory", 1)
    await until(lambda: len(errors) == 11, "all are committed")

    def heard() -> list[str]:
        return [it.id for it in line.directives if isinstance(it, Command)]

    await until(lambda: len(heard()) == 5, "all are heard")
    assert heard() == ["0", "1", "2", "3", "4"]
    assert await redis.hget(gateway.keys.call(line.sid), "s:x") == b"4"
    await line.end()


async def test_redis_that_has_no_memory_when_it_is_back_learns_later_what_it_has_lost(
    start: Start, gateway: GatewayDouble, redis: Redis
) -> None:
    """P6: it has lost a commit; the next one would wait for that for ever, and all other calls with it."""
    app = App()
    app.on("session:new")(_welcome)
    running = await start(app)
    line = await gateway.open()
    await line.start()
    link = running.worker.office.recovery._link
    # As an append-only file has it that was written a second ago.
    await redis.hset(gateway.keys.call(line.sid), "d:1", 0)
    client_id = await link.call("CLIENT", "ID")
    await redis.config_set("maxmemory", 1)
    try:
        await redis.client_kill_filter(_id=str(client_id))
        await until(lambda: link.connects == 2 and link.in_flight == 0, "it was told in vain")
    finally:
        await redis.config_set("maxmemory", 0)
    assert await line.hook("/any") == []
    assert await redis.hget(gateway.keys.call(line.sid), "d:1") == b"2"
    await line.end()
