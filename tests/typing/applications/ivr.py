"""An IVR that type checkers must accept: routes, events by annotation, state, commands and their outcomes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, assert_type

from jambonz_workers import App, Call, CallGone, CallState, ClusterError, Event, Outcome, OutcomeKind, Router, Work
from jambonz_workers.events import CallStatus, DialResult, GatherResult, QueueWait, SessionEvent


@asynccontextmanager
async def lifespan(app: App) -> AsyncGenerator[None]:
    assert_type(app.name, str)
    yield


app = App(
    "ivr",
    env={"GREETING": {"type": "string", "description": "What to say first", "default": "hello"}},
    fallback=[{"verb": "say", "text": "One moment"}],
    lifespan=lifespan,
    target="0.9",
    validate_verbs=True,
)
menus = Router("/menu")


@app.session("/ivr")
async def welcome(call: Call, event: SessionEvent) -> list[dict[str, object]]:
    assert_type(event.from_, str)
    assert_type(event.sip_headers, Mapping[str, Any])
    assert_type(call.state, CallState)
    assert_type(call.from_, str)
    call.state["tries"] = 0
    return [{"verb": "gather", "input": ["digits"], "actionHook": "/menu/first"}]


@menus.hook("/{step}", late="drop", fallback={"verb": "pause", "length": 5})
async def step(call: Call, event: GatherResult) -> object:
    assert_type(event.digits, str)
    assert_type(event.transcript, str)
    assert_type(event.confidence, float | None)
    assert_type(event.is_timeout, bool)
    assert_type(event.path_params, Mapping[str, str])
    outcome = await call.redirect({"verb": "hangup"})
    assert_type(outcome, Outcome)
    if outcome.kind is OutcomeKind.REFUSED:
        assert_type(outcome.reason, str)
    await call.ack([{"verb": "say", "text": "yes"}])
    assert_type(call.spawn(remind(call), name="reminder"), Work)
    assert_type(call.after(5, "/menu/later", {"try": 1}), str)
    return None


async def remind(call: Call) -> None:
    await call.whisper({"verb": "say", "text": "psst"}, leg="a-leg")
    await call.record("start", siprec_server_url="sip:rec@127.0.0.1")
    await call.participant("coach", tag="agent-7")
    await call.command("future:thing", {"x": 1}, leg="a-leg")


@menus.hook("/wait")
def wait(call: Call, event: QueueWait) -> dict[str, object]:
    assert_type(event.position, int | None)
    assert_type(event.waited_s, float | None)
    return {"verb": "pause", "length": 1}


@menus.hook("/dialled")
async def dialled(_: Call, event: DialResult) -> None:
    assert_type(event.is_answered, bool)
    assert_type(event.dialled_call_sid, str)


app.include(menus)


@app.on("call:status")
async def status(call: Call, event: CallStatus) -> None:
    assert_type(event.duration_s, float | None)
    assert_type(event.data, dict[str, Any])


@app.on("tts:streaming-event", concurrent=True)
async def interruption(call: Call) -> None:
    call.tts_clear()


@app.on_error
async def failed(call: Call, event: Event, error: Exception) -> object:
    assert_type(event.kind, str)
    return {"verb": "hangup"}


@app.on_end
def ended(call: Call) -> None:
    assert_type(call.status, str)


@app.takeover
async def resumed(call: Call, event: Event) -> None:
    try:
        await call.hangup()
    except CallGone as gone:
        base: ClusterError = gone
        assert_type(gone.call_sid, str)
        raise base from None


# What a decorator returns is the function itself, so that it can be called in a test and found by an editor.
async def called(call: Call, event: GatherResult) -> None:
    assert_type(await welcome(call, event.seen_as(SessionEvent)), list[dict[str, object]])
    assert_type(wait(call, event.seen_as(QueueWait)), dict[str, object])
