"""Commands that jambonz would ignore are refused where that is known, and sent wherever it is not."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from jambonz_shared.envelope import Envelope
from jambonz_workers import App, Call, CallGone, WrongState
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


def ignored(phase: Phase) -> set[str]:
    return {command for command in COMMANDS + MORE if phase.why_ignored(command)}


UNANSWERED = {"hangup", "dtmf", "sip:request"}
NO_DIAL = {"mute:status", "whisper", "media:path"}


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        pytest.param(phase_after(), set(), id="nothing_known"),
        pytest.param(phase_after(begun_with="trying"), set(), id="status_of_session_new_may_be_all_that_ever_comes"),
        pytest.param(phase_after(begun_with="in-progress"), {"no-answer"}, id="answered_before_a_takeover"),
        pytest.param(phase_after(status("trying")), UNANSWERED, id="trying"),
        pytest.param(phase_after(status("ringing")), UNANSWERED, id="ringing"),
        pytest.param(phase_after(status("early-media")), UNANSWERED, id="early_media"),
        pytest.param(phase_after(status("trying"), status("in-progress")), {"no-answer"}, id="answered"),
        pytest.param(phase_after(status("in-progress"), status("trying")), {"no-answer"}, id="answered_is_not_undone"),
        pytest.param(phase_after(*[status("in-progress")] * 3), {"no-answer"}, id="answered_told_again"),
        pytest.param(phase_after(status(7)), set(), id="status_is_no_text"),
        pytest.param(phase_after(told("call:status", None)), set(), id="status_without_data"),
        pytest.param(phase_after(told("call:status", None, body=b"{")), set(), id="status_is_no_json"),
        pytest.param(phase_after(told("call:status", None, body=b"[]")), set(), id="status_is_no_object"),
        pytest.param(phase_after(status("trying", epoch=2)), set(), id="another_websocket_has_its_own_order"),
        pytest.param(phase_after(status("in-progress", epoch=2)), {"no-answer"}, id="answered_is_for_good"),
        pytest.param(phase_after(status("trying"), told("session:reconnect", {}, epoch=2)), set(), id="reconnected"),
        pytest.param(phase_after(status("trying"), told("cluster:detached", {}, epoch=0)), set(), id="in_a_gap"),
        pytest.param(
            phase_after(status("in-progress"), told("cluster:detached", {}, epoch=0)),
            {"no-answer"},
            id="gap_later",
        ),
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
def test_only_what_is_known_is_refused(phase: Phase, expected: set[str]) -> None:
    """A command that jambonz might follow is sent."""
    assert ignored(phase) == expected
    assert not phase.is_over


def test_verbs_that_went_out_make_the_state_unknown() -> None:
    """They may answer the call, and another one runs."""
    phase = phase_after(status("trying"), verb("starting", "gather"))
    phase.change()
    assert ignored(phase) == set()


@pytest.mark.parametrize("value", ["completed", "failed", "busy", "no-answer"])
def test_a_final_status_is_the_end(value: str) -> None:
    """Whatever comes after it."""
    assert phase_after(status(value)).is_over
    assert phase_after(begun_with=value).is_over
    assert phase_after(status(value), told("session:reconnect", {}, epoch=2), status("in-progress", epoch=2)).is_over


# Through handlers.


async def test_a_command_at_the_wrong_time_is_an_error_where_it_is_written() -> None:
    """With what is wrong; the generic command goes out all the same."""
    app = App()
    errors: list[WrongState] = []

    @app.hook("/try")
    async def tries(call: Call) -> None:
        for command in (call.hangup, lambda: call.dtmf("5"), lambda: call.sip_request("INFO")):
            with pytest.raises(WrongState) as caught:
                command()
            errors.append(caught.value)
        call.command("dtmf", {"dtmf": {"digit": "5"}})
        call.dtmf("5", leg="another")
        call.no_answer()

    async with AppClient(app) as client:
        await client.session_new()
        await client.send("call:status", {"call_status": "ringing"})
        frames = (await client.hook("/try")).commands
    assert [frame["command"] for frame in frames] == ["dtmf", "dtmf", "call:status"]
    assert [(it.command, it.why) for it in errors] == [
        ("hangup", "the call is not answered"),
        ("dtmf", "the call is not answered"),
        ("sip:request", "the call is not answered"),
    ]
    assert "jambonz would ignore 'hangup', since the call is not answered; nothing was sent" in str(errors[0])


@pytest.mark.parametrize("answer_by", ["ack", "redirect", "result"])
async def test_verbs_of_the_application_may_have_answered_the_call(answer_by: str) -> None:
    """Until the next status nobody knows."""
    app = App()

    @app.hook("/answer")
    async def answers(call: Call) -> object:
        if answer_by == "ack":
            await call.ack({"verb": "answer"})
            call.dtmf("5")
        if answer_by == "redirect":
            call.redirect({"verb": "answer"})
            call.dtmf("5")
        return {"verb": "answer"} if answer_by == "result" else None

    @app.hook("/next")
    async def follows(call: Call) -> None:
        call.dtmf("5")

    async with AppClient(app) as client:
        await client.send("call:status", {"call_status": "ringing"})
        await client.hook("/answer")
        await client.hook("/next")
        assert [frame["command"] for frame in client.commands if frame["command"] == "dtmf"]
        await client.send("call:status", {"call_status": "in-progress"})
        await client.hook("/next")


async def test_a_busy_handler_learns_of_the_answer_at_once() -> None:
    """The status waits in the mailbox behind it."""
    app = App()
    go_on = asyncio.Event()

    @app.hook("/busy")
    async def busy(call: Call) -> None:
        await go_on.wait()
        call.dtmf("5")

    async with AppClient(app) as client:
        await client.send("call:status", {"call_status": "ringing"})
        running = asyncio.create_task(client.hook("/busy"))
        await asyncio.sleep(0)
        status_told = asyncio.create_task(client.send("call:status", {"call_status": "in-progress"}))
        await asyncio.sleep(0)
        go_on.set()
        assert [frame["command"] for frame in (await running).commands] == ["dtmf"]
        await status_told


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
