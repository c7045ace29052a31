"""Commands that jambonz will surely ignore are refused; those that it may ignore are sent, with a warning."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from jambonz_shared.envelope import Envelope
from jambonz_workers import App, Call, CallGone, WrongState, controls
from jambonz_workers.events import CallStatus
from jambonz_workers.phase import Phase
from jambonz_workers.testing import AppClient

COMMANDS = ("hangup", "no-answer", "dtmf", "sip:request", "mute:status", "whisper", "listen:status", "media:path")
MORE = ("conf:hold-status", "llm:update", "record", "config", "tts:tokens", "transcribe:status")


def told(kind: str, data: dict[str, Any] | None, *, epoch: int = 1, body: bytes | None = None) -> Envelope:
    body = orjson.dumps({"type": kind, "data": data}) if body is None else body
    return Envelope("c1", epoch, 1, kind, "m1", 0, "g", is_acked=False, body=body)


def status(value: object, *, epoch: int = 1) -> Envelope:
    return told("call:status", {"call_sid": "c1", "call_status": value}, epoch=epoch)


def verb(event: str, name: object, *, epoch: int = 1) -> Envelope:
    return told("verb:status", {"event": event, "name": name}, epoch=epoch)


def phase_after(*envelopes: Envelope, begun_with: str = "") -> Phase:
    phase = Phase(begun_with)
    for envelope in envelopes:
        phase.hear(envelope)
    return phase


def refused(phase: Phase) -> set[str]:
    return {command for command in COMMANDS + MORE if phase.why_refused(command)}


def doubted(phase: Phase) -> set[str]:
    return {command for command in COMMANDS + MORE if phase.why_doubted(command)}


UNANSWERED = {"hangup", "dtmf", "sip:request"}
NO_DIAL = {"mute:status", "whisper", "media:path"}


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(phase_after(begun_with="in-progress"), id="before_a_takeover"),
        pytest.param(phase_after(status("trying"), status("in-progress")), id="told"),
        pytest.param(phase_after(status("in-progress"), status("trying")), id="not_undone"),
        pytest.param(phase_after(*[status("in-progress")] * 3), id="told_again"),
        pytest.param(phase_after(status("in-progress", epoch=2)), id="on_another_websocket"),
        pytest.param(phase_after(status("in-progress"), told("cluster:detached", {}, epoch=0)), id="gap_later"),
    ],
)
def test_an_answered_call_cannot_be_refused_any_more(phase: Phase) -> None:
    """There is no way back from it, so nothing else can have happened by the time the command arrives."""
    assert refused(phase) == {"no-answer"}
    assert doubted(phase) == set()
    assert not phase.is_over


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        pytest.param(phase_after(), set(), id="nothing_known"),
        pytest.param(phase_after(begun_with="trying"), set(), id="status_of_session_new_may_be_all_that_ever_comes"),
        pytest.param(phase_after(status("trying")), UNANSWERED, id="trying"),
        pytest.param(phase_after(status("ringing")), UNANSWERED, id="ringing"),
        pytest.param(phase_after(status("early-media")), UNANSWERED, id="early_media"),
        pytest.param(phase_after(status(7)), set(), id="status_is_no_text"),
        pytest.param(phase_after(told("call:status", None)), set(), id="status_without_data"),
        pytest.param(phase_after(told("call:status", None, body=b"{")), set(), id="status_is_no_json"),
        pytest.param(phase_after(told("call:status", None, body=b"[]")), set(), id="status_is_no_object"),
        pytest.param(phase_after(status("trying", epoch=2)), set(), id="another_websocket_has_its_own_order"),
        pytest.param(phase_after(status("trying"), told("session:reconnect", {}, epoch=2)), set(), id="reconnected"),
        pytest.param(phase_after(status("trying"), told("cluster:detached", {}, epoch=0)), set(), id="in_a_gap"),
        pytest.param(
            phase_after(told("cluster:detached", {}, epoch=0), status("trying")), set(), id="kept_during_a_gap"
        ),
        pytest.param(
            phase_after(verb("starting", "gather")),
            NO_DIAL | {"listen:status", "conf:hold-status", "llm:update"},
            id="gather",
        ),
        pytest.param(
            phase_after(verb("starting", "dial")), {"conf:hold-status", "llm:update"}, id="dial_may_have_a_listen"
        ),
        pytest.param(
            phase_after(verb("starting", "conference")),
            {"whisper", "listen:status", "media:path", "llm:update"},
            id="conference",
        ),
        pytest.param(phase_after(verb("starting", "transfer")), set(), id="verb_of_another_line"),
        pytest.param(phase_after(verb("starting", ["say"])), set(), id="name_is_no_text"),
        pytest.param(phase_after(verb("starting", "say"), verb("finished", "say")), set(), id="between_verbs"),
        pytest.param(
            phase_after(verb("starting", "dial"), told("verb:status", {"event": "start-playback", "verb": "say"})),
            {"conf:hold-status", "llm:update"},
            id="what_happens_inside_a_verb",
        ),
        pytest.param(phase_after(verb("starting", "say", epoch=2)), set(), id="verb_on_another_websocket"),
        pytest.param(
            phase_after(verb("starting", "say"), told("session:reconnect", {}, epoch=2)), set(), id="verb_before_a_gap"
        ),
    ],
)
def test_what_may_have_changed_is_doubted_only(phase: Phase, expected: set[str]) -> None:
    """An answer, or the next verb, may be under way: jambonz may follow by the time the command arrives."""
    assert doubted(phase) == expected
    assert refused(phase) == set()
    assert not phase.is_over


def test_verbs_that_went_out_make_the_state_unknown() -> None:
    """They may answer the call, and another one runs."""
    phase = phase_after(status("trying"), verb("starting", "gather"))
    phase.change()
    assert doubted(phase) == set()


@pytest.mark.parametrize("value", ["completed", "failed", "busy", "no-answer"])
def test_a_final_status_is_the_end(value: str) -> None:
    """Whatever comes after it."""
    assert phase_after(status(value)).is_over
    assert phase_after(begun_with=value).is_over
    assert phase_after(status(value), told("session:reconnect", {}, epoch=2), status("in-progress", epoch=2)).is_over


# Through handlers.


async def test_a_command_that_is_surely_in_vain_is_an_error_where_it_is_written() -> None:
    """With what is wrong; the generic command goes out all the same."""
    app = App()
    errors: list[WrongState] = []

    @app.hook("/try")
    async def tries(call: Call) -> None:
        with pytest.raises(WrongState) as caught:
            call.no_answer()
        errors.append(caught.value)
        call.command("call:status", {"call_status": "no-answer"})

    async with AppClient(app) as client:
        await client.session_new()
        await client.send("call:status", {"call_status": "in-progress"})
        frames = (await client.hook("/try")).commands
    assert [frame["command"] for frame in frames] == ["call:status"]
    assert [(it.command, it.why) for it in errors] == [("no-answer", "the call is answered")]
    assert "jambonz would ignore 'no-answer', since the call is answered; nothing was sent" in str(errors[0])


async def test_a_command_that_may_be_in_vain_is_sent_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As an SDK would send it, but its author learns why nothing may happen; once, not for each call."""
    monkeypatch.setattr(controls, "_warned", set())
    app = App()

    @app.hook("/try")
    async def tries(call: Call) -> None:
        for _ in range(2):
            call.hangup()
            call.dtmf("5")
            call.mute()
            call.dtmf("5", leg="another")
            call.no_answer()

    async with AppClient(app) as client:
        await client.session_new()
        await client.send("call:status", {"call_status": "ringing"})
        await client.send("verb:status", {"event": "starting", "name": "gather"})
        frames = (await client.hook("/try")).commands
    assert [frame["command"] for frame in frames] == ["call:status", "dtmf", "mute:status", "dtmf", "call:status"] * 2
    warned = [vars(record) for record in caplog.records if record.name == controls.log.name]
    assert [(it["command"], it["why"], it["call_sid"]) for it in warned] == [
        ("hangup", "the call is not answered", client.call.sid),
        ("dtmf", "the call is not answered", client.call.sid),
        ("mute:status", "the running verb is 'gather'", client.call.sid),
    ]


async def test_a_busy_handler_learns_of_the_answer_at_once() -> None:
    """The status waits in the mailbox behind it."""
    app = App()
    go_on = asyncio.Event()
    refused: list[str] = []

    @app.hook("/busy")
    async def busy(call: Call) -> None:
        await go_on.wait()
        with pytest.raises(WrongState) as caught:
            call.no_answer()
        refused.append(caught.value.why)

    async with AppClient(app) as client:
        await client.send("call:status", {"call_status": "ringing"})
        running = asyncio.create_task(client.hook("/busy"))
        await asyncio.sleep(0)
        status_told = asyncio.create_task(client.send("call:status", {"call_status": "in-progress"}))
        await asyncio.sleep(0)
        go_on.set()
        await running
        await status_told
    assert refused == ["the call is answered"]


async def test_background_work_hears_of_the_end_and_a_late_handler_finishes() -> None:
    """What a handler has begun before the end is saved; commands after the final status are mistakes."""
    app = App()
    refused: list[str] = []

    def refusing(what: str, command: Callable[[], object]) -> None:
        with pytest.raises(CallGone):
            command()
        refused.append(what)

    @app.hook("/busy")
    async def busy(call: Call) -> None:
        call.spawn(works(call))
        call.state["saved"] = True
        # Arrives while the handler is busy; its turn comes behind it.
        call.phase.hear(status("completed"))
        call.redirect({"verb": "hangup"})

    async def works(call: Call) -> None:
        refusing("work", call.hangup)

    @app.on("call:status")
    async def over(call: Call, event: CallStatus) -> None:
        if event.is_final:
            refusing("handler", call.hangup)

    @app.on_end
    async def ended(call: Call) -> None:
        refusing("end", lambda: call.redirect({"verb": "hangup"}))

    async with AppClient(app) as client:
        reaction = await client.hook("/busy")
        assert [frame["command"] for frame in reaction.commands] == ["redirect"]
        assert client.state == {"saved": True}
        await client.settle()
        await client.send("call:status", {"call_status": "completed"})
        await client.end()
    assert sorted(refused) == ["end", "handler", "work"]


async def test_end_handler_of_a_lost_call_commands_nobody() -> None:
    """The grace time is over: jambonz has told no final status, and its outcome would be a lie."""
    refused: list[str] = []
    app = App()

    @app.on_end
    async def ended(call: Call) -> None:
        try:
            call.redirect({"verb": "hangup"})
        except CallGone:
            refused.append(call.status)

    async with AppClient(app) as client:
        await client.send("call:status", {"call_status": "in-progress"})
        await client.end()
    assert refused == ["in-progress"]
