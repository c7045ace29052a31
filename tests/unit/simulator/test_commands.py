"""Which commands jambonz follows in which state (PROTOCOL.md 3.1-3.4)."""

from typing import Any

import pytest

from jambonz_simulator.core.commands import KNOWN_COMMANDS
from jambonz_simulator.core.script import Dial, Script
from tests.unit.simulator.stage import GATHER, PAUSE, Stage, running

DIAL = [{"verb": "dial", "target": [{"type": "phone", "number": "1"}], "listen": {"url": "x"}}]
CONFERENCE = [{"verb": "conference", "name": "r"}]
LISTEN = [{"verb": "listen", "url": "x"}]
UNANSWERED = [{"verb": "tag", "data": {}}]


def in_state(verbs: list[dict[str, Any]]) -> Stage:
    return running(verbs, Script(dials=(Dial(talk_s=None),))).advance(1)


ACCEPTED = [
    (PAUSE, "config", {"notifyEvents": True}),
    (PAUSE, "dial", {"from": "1", "to": {"type": "phone", "number": "2"}}),
    (PAUSE, "dub", {"action": "addTrack", "track": "a"}),
    (PAUSE, "record", {"action": "startCallRecording"}),
    (UNANSWERED, "record", {"action": "startCallRecording"}),
    (DIAL, "mute:status", "mute"),
    (CONFERENCE, "mute:status", {"mute_status": "unmute"}),
    (CONFERENCE, "conf:mute-status", {"conf_mute_status": "mute"}),
    (CONFERENCE, "conf:hold-status", {"conf_hold_status": "hold"}),
    (CONFERENCE, "conf:participant-action", {"action": "coach", "tag": "x"}),
    (LISTEN, "listen:status", {"listen_status": "pause"}),
    (LISTEN, "stream:status", {"stream_status": "resume"}),
    (DIAL, "listen:status", {"listen_status": "pause"}),
    (LISTEN, "transcribe:status", {"transcribe_status": "pause"}),
    (LISTEN, "whisper", {"whisper": {"verb": "say", "text": "x"}}),
    (DIAL, "whisper", {"whisper": [{"verb": "play", "url": "x"}]}),
    (PAUSE, "sip:request", {"sip_request": {"method": "INFO"}}),
    (PAUSE, "dtmf", {"dtmf": {"digit": "1"}}),
    (PAUSE, "boostAudioSignal", "6dB"),
    (DIAL, "media:path", "no-media"),
    (PAUSE, "redirect", {"parent_call": PAUSE}),
]

IGNORED = [
    (PAUSE, "tag", {"x": 1}, "unknown command 'tag'"),
    (PAUSE, "agent:update", {"x": 1}, "unknown command"),
    (PAUSE, "mute", {"x": 1}, "unknown command"),
    (PAUSE, "redirect", {"nothing": 1}, "redirect wants"),
    (PAUSE, "redirect", "x", "redirect wants"),
    (PAUSE, "redirect", {"child_call_hook": "/c"}, "no connected dial"),
    (PAUSE, "redirect", {"parent_call": [7]}, "invalid verbs"),
    (PAUSE, "redirect", {"child_call": PAUSE}, "redirect wants"),
    (UNANSWERED, "call:status", {"call_status": "completed"}, "not answered"),
    (PAUSE, "call:status", {"call_status": "no-answer"}, "is answered"),
    (PAUSE, "call:status", {"call_status": "busy"}, "unknown call_status 'busy'"),
    (PAUSE, "config", [1], "wants an object"),
    (PAUSE, "dial", {"from": "1"}, "wants from and to"),
    (PAUSE, "dub", {"action": "x"}, "wants action and track"),
    (PAUSE, "record", {"action": "start"}, "known action"),
    (UNANSWERED, "record", {"action": "pauseCallRecording"}, "not answered"),
    (PAUSE, "mute:status", "mute", "only in dial or conference"),
    (DIAL, "mute:status", {"mute": 1}, "wants mute or unmute"),
    (PAUSE, "conf:mute-status", {"x": 1}, "wants conf_mute_status"),
    (PAUSE, "conf:mute-status", {"conf_mute_status": "mute"}, "only in conference"),
    (PAUSE, "conf:hold-status", {"x": 1}, "wants conf_hold_status"),
    (PAUSE, "conf:hold-status", {"conf_hold_status": "hold"}, "only in conference"),
    (PAUSE, "conf:participant-action", {"action": "dance"}, "unknown participant action"),
    (PAUSE, "conf:participant-action", {"action": "mute"}, "only in conference"),
    (PAUSE, "listen:status", {"x": 1}, "wants listen_status"),
    (PAUSE, "listen:status", {"listen_status": "pause"}, "only in listen"),
    (PAUSE, "stream:status", {"stream_status": "pause"}, "only in listen"),
    (PAUSE, "transcribe:status", {"x": 1}, "wants transcribe_status"),
    (PAUSE, "transcribe:status", {"transcribe_status": "pause"}, "only in transcribe or dial or listen"),
    (DIAL, "whisper", {"whisper": [{"verb": "gather"}]}, "say and play"),
    (DIAL, "whisper", {"x": 1}, "say and play"),
    (PAUSE, "whisper", {"whisper": {"verb": "say"}}, "only in dial or listen"),
    (PAUSE, "sip:request", {"method": "INFO"}, "wrapped in sip_request"),
    (UNANSWERED, "sip:request", {"sip_request": {"method": "INFO"}}, "not answered"),
    (PAUSE, "dtmf", {"digit": "1"}, "dtmf"),
    (PAUSE, "dtmf", {"dtmf": "1"}, "dtmf"),
    (UNANSWERED, "dtmf", {"dtmf": {"digit": "1"}}, "not answered"),
    (PAUSE, "boostAudioSignal", {"db": 6}, "wants a number"),
    (PAUSE, "media:path", "some-media", "unknown media path"),
    (PAUSE, "media:path", "full-media", "only in dial"),
    (PAUSE, "llm:update", {"type": "x"}, "no llm verb"),
    (PAUSE, "llm:tool-output", {"type": "x"}, "no llm verb"),
    (PAUSE, "tts:tokens", {"id": 1, "tokens": "x"}, "streaming is off"),
    (PAUSE, "tts:tokens", "x", "streaming is off"),
    (PAUSE, "tts:flush", None, "not connected"),
    (PAUSE, "tts:clear", None, "not connected"),
]


@pytest.mark.parametrize(("verbs", "command", "data"), ACCEPTED)
def test_command_in_the_right_state_is_followed(verbs: Any, command: str, data: Any) -> None:
    """Section 3.2."""
    stage = in_state(verbs).command(command, data)
    assert stage.verdicts() == [(command, "accepted")], stage.reason()
    assert stage.anomalies() == []


@pytest.mark.parametrize(("verbs", "command", "data", "reason"), IGNORED)
def test_command_that_jambonz_ignores_is_written_down_with_the_reason(
    verbs: Any, command: str, data: Any, reason: str
) -> None:
    """Sections 3.1 and 3.4, pitfall 18: jambonz itself says nothing."""
    stage = in_state(verbs)
    sent = len(stage.sent("jambonz:error"))
    stage.command(command, data)
    assert stage.verdicts() == [(command, "ignored")]
    assert reason in stage.reason()
    assert len(stage.sent("jambonz:error")) == sent
    assert "command_ignored" in stage.anomalies()


def test_every_command_of_the_reference_is_known_and_ignored_at_the_wrong_time() -> None:
    assert len(KNOWN_COMMANDS) == 23
    assert {command for _, command, _, _ in IGNORED} >= KNOWN_COMMANDS


def test_command_name_that_is_no_text_is_unknown() -> None:
    assert running(PAUSE).command(7, {}).verdicts() == [("7", "ignored")]  # type: ignore[arg-type]


def test_call_sid_of_a_command_is_its_camel_case_member() -> None:
    """Section 3.1, pitfall 12: `call_sid` is ignored."""
    stage = running(PAUSE).command("redirect", [], callSid="leg", call_sid="other", tool_call_id="t")
    record = stage.call.world.ledger.commands[-1]
    assert (record.call_sid, record.tool_call_id, record.queue_command) == ("leg", "t", False)


def test_completed_hangs_up() -> None:
    stage = running(PAUSE).command("call:status", {"call_status": "completed"}).advance(1)
    assert stage.last("call:status")["data"]["call_termination_by"] == "jambonz"
    assert stage.outcome == "completed"


def test_no_answer_refuses_an_unanswered_call() -> None:
    """Section 3.2: 503."""
    stage = running(UNANSWERED).command("call:status", {"call_status": "no-answer"}).advance(1)
    assert stage.last("call:status")["data"]["sip_status"] == 503


def test_no_answer_cancels_an_outbound_call_that_rings() -> None:
    """Section 3.2: CANCEL. call-session.js closes the websocket before the 487 to it comes."""
    stage = Stage(Script(direction="outbound", answer=Dial(ring_s=10))).start().advance(1)
    stage.command("call:status", {"call_status": "no-answer"}).advance(1)
    assert stage.verdicts() == [("call:status", "accepted")]
    assert (stage.statuses(), stage.closed) == (["trying", "ringing"], [(1, 1000)])
    assert stage.result is not None
    assert (stage.outcome, stage.result.outcome.sip_status) == ("unanswered", 487)


@pytest.mark.parametrize(
    ("command", "data"),
    [
        ("call:status", {"call_status": "completed"}),
        ("dtmf", {"dtmf": {"digit": "1"}}),
        ("sip:request", {"sip_request": {"method": "INFO"}}),
        ("record", {"action": "pauseCallRecording"}),
    ],
)
def test_outbound_call_that_rings_is_not_answered(command: str, data: Any) -> None:
    """Section 3.2."""
    stage = Stage(Script(direction="outbound", answer=Dial(ring_s=10))).start().advance(1)
    stage.command(command, data)
    assert stage.verdicts() == [(command, "ignored")]
    assert "not answered" in stage.reason()
    assert stage.advance(10).statuses()[-1] == "in-progress"


def test_command_after_the_final_status_is_ignored() -> None:
    stage = running(PAUSE).hang_up().command("redirect", PAUSE, connection=1)
    assert stage.reason() == "the call is over"


def test_call_hook_asks_for_a_new_application_on_the_same_socket() -> None:
    """Section 2.5: even if the URL is an absolute websocket one."""
    stage = running(PAUSE).command("redirect", {"call_hook": "ws://other.test/"})
    frame = stage.last("session:redirect")
    assert (frame["hook"], len(stage.opened)) == ("ws://other.test/", 1)
    assert stage.ack(frame, GATHER).verb == "gather"


def test_call_hook_without_verbs_kills_the_running_verb() -> None:
    """Section 2.5."""
    stage = running([*PAUSE, *GATHER]).command("redirect", {"call_hook": "/x"})
    assert stage.ack(stage.last("session:redirect")).verb == "gather"


def test_call_hook_answered_by_an_empty_application_clears_the_stack() -> None:
    """call-session.js, _lccCallHook: only missing data leaves what stands behind the running verb."""
    stage = running([*PAUSE, *GATHER]).command("redirect", {"call_hook": "/x"})
    stage.ack(stage.last("session:redirect"), [])
    assert (stage.verb, stage.result) == (None, None)


@pytest.mark.parametrize("queue", [False, True])
def test_empty_redirect_ends_a_call_that_waits_for_commands(*, queue: bool) -> None:
    """call-session.js, exec: the loop ends when it is woken and there is no verb to run."""
    stage = running([{"verb": "answer"}]).command("redirect", [], queueCommand=queue)
    assert stage.advance(1).outcome == "completed"
    assert stage.statuses()[-1] == "completed"


def test_empty_redirect_of_a_running_verb_makes_the_call_wait() -> None:
    """Section 3.3."""
    stage = running([*PAUSE, *GATHER]).command("redirect", []).advance(1)
    assert (stage.verb, stage.result) == (None, None)


@pytest.mark.parametrize("data", [[], None], ids=["empty", "missing"])
def test_call_hook_of_a_call_that_waits_for_commands(data: Any) -> None:
    """An empty application ends it, an ack without data changes nothing (call-session.js, _lccCallHook)."""
    stage = running([{"verb": "answer"}]).command("redirect", {"call_hook": "/x"})
    stage.ack(stage.last("session:redirect"), data).advance(1)
    assert (stage.result is None) == (data is None)


def test_call_hook_without_an_ack_changes_nothing() -> None:
    stage = running(PAUSE).command("redirect", {"call_hook": "/x"}).advance(5)
    assert stage.verb == "pause"


def test_background_transcription_can_be_paused_anywhere() -> None:
    stage = running([{"verb": "config", "transcribe": {"enable": True}}, *PAUSE])
    stage.command("transcribe:status", {"transcribe_status": "pause"})
    assert stage.verdicts() == [("transcribe:status", "accepted")]


def test_hook_that_answers_after_the_end_runs_nothing() -> None:
    stage = running(GATHER)
    stage.press("1")
    hook = stage.last("verb:hook")
    stage.hang_up().ack(hook, PAUSE, connection=1)
    assert stage.verb is None
    assert stage.advance(1).outcome == "completed"


def test_new_application_that_answers_after_the_end_is_not_run() -> None:
    stage = running(PAUSE).command("redirect", {"call_hook": "/x"})
    redirect = stage.last("session:redirect")
    stage.hang_up().ack(redirect, GATHER, connection=1)
    assert stage.verb is None


def test_http_hook_is_a_webhook_that_answers_nothing_here() -> None:
    """Section 1.6."""
    stage = running([{**GATHER[0], "actionHook": "https://x.test/hook"}, *PAUSE])
    stage.press("1")
    assert (stage.sent("verb:hook"), stage.verb) == ([], "pause")


def test_http_call_hook_closes_the_socket_with_1000() -> None:
    """Section 2.5: the application moves to HTTP."""
    stage = running(PAUSE).command("redirect", {"call_hook": "https://x.test/"})
    assert stage.closed == [(1, 1000)]
