"""The verb stack: order, replacing, appending, hooks of media verbs and gather (PROTOCOL.md 2.8, 3.3)."""

from typing import Any

import pytest

from jambonz_simulator.core.script import Script
from jambonz_simulator.core.verbs import InvalidVerbs, hook_path, number, read_verbs
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, Stage, running


def test_verbs_run_one_after_the_other_then_jambonz_waits_for_commands_without_limit() -> None:
    """Section 2.8, pitfall 48: an empty stack does not end the call."""
    stage = running([{"verb": "pause", "length": 2}, *HELLO])
    assert stage.verb == "pause"
    assert stage.advance(2).verb == "say"
    assert stage.advance(1).verb is None
    assert stage.advance(3600).result is None


def test_hangup_ends_the_call_by_jambonz_and_closes_1000() -> None:
    """Section 6.9."""
    stage = running([*HELLO, {"verb": "hangup"}]).advance(1)
    completed = stage.last("call:status")["data"]
    assert (completed["call_status"], completed["call_termination_by"]) == ("completed", "jambonz")
    assert completed["duration"] == 0
    assert stage.closed == [(1, 1000)]
    assert stage.outcome == "completed"


def test_hangup_of_an_unanswered_call_sends_no_completed() -> None:
    """Section 6.9: the caller hears 603."""
    stage = running([{"verb": "hangup"}]).advance(1)
    assert stage.statuses() == ["trying"]
    assert stage.result is not None
    assert (stage.outcome, stage.result.outcome.sip_status) == ("unanswered", 603)


def test_caller_who_hangs_up_is_told_and_the_duration_counted() -> None:
    stage = running(PAUSE).advance(42).hang_up().advance(1)
    completed = stage.last("call:status")["data"]
    assert (completed["call_termination_by"], completed["duration"]) == ("caller", 42)


def test_caller_who_hangs_up_before_the_answer_cancels() -> None:
    """Section 2.10: no-answer 487."""
    stage = running([{"verb": "tag", "data": {}}]).hang_up().advance(1)
    assert stage.statuses() == ["trying", "no-answer"]
    assert stage.outcome == "unanswered"
    assert stage.hang_up().statuses() == ["trying", "no-answer"]


def test_declined_call_fails_with_the_status_of_the_app() -> None:
    stage = running([{"verb": "sip:decline", "status": 486, "reason": "Busy"}]).advance(1)
    assert stage.last("call:status")["data"]["sip_status"] == 486
    assert stage.outcome == "unanswered"


def test_decline_after_the_answer_does_nothing() -> None:
    assert running([{"verb": "answer"}, {"verb": "sip:decline", "status": 486}, *PAUSE]).verb == "pause"


def test_redirect_command_replaces_the_stack_and_kills_the_running_verb() -> None:
    """Section 3.3."""
    stage = running([*PAUSE, *HELLO]).command("redirect", GATHER)
    assert stage.verb == "gather"
    stage.press("1")
    stage.ack(stage.last("verb:hook"), [])
    assert stage.verb is None


def test_queued_redirect_is_appended_and_wakes_a_waiting_session() -> None:
    """Section 3.3."""
    stage = running([{"verb": "pause", "length": 1}]).command("redirect", HELLO, queueCommand=True)
    assert stage.verb == "pause"
    stage.advance(1).command("redirect", PAUSE, queueCommand=True).advance(1)
    assert stage.verb == "pause"
    stage.command("redirect", []).command("redirect", HELLO, queueCommand=True)
    assert stage.verb == "say"


def test_empty_redirect_clears_the_stack_and_waits() -> None:
    """Section 3.3."""
    stage = running([*PAUSE, *HELLO]).command("redirect", [])
    assert stage.verb is None
    assert stage.verdicts() == [("redirect", "accepted")]


def test_redirect_with_invalid_verbs_is_ignored_without_an_answer() -> None:
    """Section 3.1, pitfall 18."""
    stage = running(PAUSE).command("redirect", [{"verb": "nonsense"}])
    assert (stage.verb, stage.verdicts(), stage.reason()) == ("pause", [("redirect", "ignored")], "invalid verbs")
    assert stage.sent("jambonz:error") == []


def test_hook_verbs_replace_the_stack() -> None:
    stage = running([*GATHER, *PAUSE])
    stage.press("2")
    hook = stage.last("verb:hook", "/menu")
    assert (hook["data"]["digits"], hook["data"]["reason"]) == ("2", "dtmfDetected")
    assert stage.ack(hook, HELLO).verb == "say"


def test_redirected_verbs_wait_for_the_pending_hook() -> None:
    """tasks/gather.js, _resolve: the verb is done when its hook is acked, killed or not."""
    stage = running(GATHER)
    stage.press("1")
    hook = stage.last("verb:hook", "/menu")
    stage.command("redirect", PAUSE)
    assert stage.verb == "gather"
    assert stage.ack(hook, []).verb == "pause"


def test_verbs_of_a_pending_hook_replace_those_of_a_redirect() -> None:
    """Section 3.3: so ack with nothing first."""
    stage = running(GATHER)
    stage.press("1")
    hook = stage.last("verb:hook", "/menu")
    assert stage.command("redirect", PAUSE).ack(hook, HELLO).verb == "say"


def test_redirected_verbs_wait_no_longer_than_jambonz_for_the_pending_hook() -> None:
    stage = running(GATHER)
    stage.press("1")
    stage.command("redirect", PAUSE).advance(4.9)
    assert stage.verb == "gather"
    assert stage.advance(0.2).verb == "pause"
    assert stage.anomalies() == ["deadline_missed"]


def test_last_redirect_counts_while_a_hook_is_pending() -> None:
    stage = running(GATHER)
    stage.press("1")
    hook = stage.last("verb:hook", "/menu")
    assert stage.command("redirect", PAUSE).command("redirect", []).ack(hook).verb is None
    assert stage.result is None


@pytest.mark.parametrize("data", [None, [], {"verb": "say"}], ids=["missing", "empty", "no_array"])
def test_hook_without_verbs_goes_on_with_the_stack(data: Any) -> None:
    """Section 2.8."""
    stage = running([*GATHER, *PAUSE])
    stage.press("2")
    assert stage.ack(stage.last("verb:hook"), data).verb == "pause"


def test_verb_id_returns_in_the_hook() -> None:
    """Section 3.3."""
    stage = running([{**GATHER[0], "id": "menu-1"}])
    stage.press("2")
    assert stage.last("verb:hook")["data"]["verb_id"] == "menu-1"


def test_play_tells_its_hook_how_long_it_played() -> None:
    stage = running([{"verb": "play", "url": ["a", "b"], "loop": 2, "actionHook": "/p"}]).advance(8)
    data = stage.last("verb:hook")["data"]
    assert (data["reason"], data["playback_milliseconds"]) == ("playCompleted", 8000)


def test_killed_play_tells_its_hook_what_was_heard_and_its_verbs_count() -> None:
    """tasks/play.js, exec."""
    stage = running([{"verb": "play", "url": "a", "actionHook": "/p"}], Script(play_s=30)).advance(2.5)
    stage.command("redirect", PAUSE)
    hook = stage.last("verb:hook", "/p")
    assert (hook["data"]["reason"], hook["data"]["playback_seconds"]) == ("playCompleted", 2)
    assert 2500 <= hook["data"]["playback_milliseconds"] < 2600
    assert stage.verb == "play"
    assert stage.ack(hook, HELLO).verb == "say"


def test_play_tells_seconds_of_the_media_and_not_of_a_faster_clock() -> None:
    stage = running([{"verb": "play", "url": "a", "actionHook": "/p"}], Script(play_s=30), speed=10).advance(3)
    assert stage.last("verb:hook")["data"]["playback_seconds"] == 30


def test_play_is_cut_by_its_time_limit() -> None:
    stage = running([{"verb": "play", "url": "a", "loop": "forever", "timeoutSecs": 3}, *PAUSE]).advance(2.9)
    assert stage.verb == "play"
    assert stage.advance(0.2).verb == "pause"


def test_said_lists_take_the_time_of_all_texts() -> None:
    stage = running([{"verb": "say", "text": ["x" * 50, "y" * 50]}]).advance(5.9)
    assert stage.verb == "say"
    assert stage.advance(0.2).verb is None


@pytest.mark.parametrize(
    "verb",
    [
        {"verb": "alert", "message": "x"},
        {"verb": "answer"},
        {"verb": "dtmf", "dtmf": "1"},
        {"verb": "dub", "action": "addTrack", "track": "a"},
        {"verb": "leave"},
        {"verb": "config", "bargeIn": 1, "ttsStream": 1, "transcribe": 1},
    ],
    ids=lambda verb: verb["verb"],
)
def test_instant_verbs_go_on_at_once(verb: dict[str, Any]) -> None:
    assert running([verb, *PAUSE]).verb == "pause"


@pytest.mark.parametrize(
    "verb",
    [
        {"verb": "transcribe"},
        {"verb": "lex", "botId": "b", "botAlias": "a", "region": "r"},
        {"verb": "rasa", "url": "u"},
        {"verb": "dialogflow", "credentials": {}, "project": "p", "lang": "en"},
    ],
    ids=lambda verb: verb["verb"],
)
def test_verbs_whose_events_come_from_the_test_run_until_killed(verb: dict[str, Any]) -> None:
    stage = running([verb]).advance(3600)
    assert stage.verb == verb["verb"]
    assert stage.command("redirect", []).verb is None


def test_tag_sets_customer_data_of_all_later_messages() -> None:
    """Section 2.1: the key stays `customerData`, pitfall 29."""
    stage = running([{"verb": "tag", "data": {"orderNo": "A-7"}}, *GATHER])
    stage.press("1")
    assert stage.last("verb:hook")["data"]["customerData"] == {"orderNo": "A-7"}


def test_tag_that_is_no_object_clears_customer_data() -> None:
    stage = running([{"verb": "tag", "data": "x"}, *GATHER])
    assert stage.call.info.customer_data == {}


def test_verb_status_comes_only_when_asked_for_and_in_two_shapes() -> None:
    """Section 2.11, pitfall 30."""
    stage = running([{"verb": "config", "notifyEvents": True}, {**HELLO[0], "id": "s"}, *PAUSE]).advance(1)
    events = [frame["data"] for frame in stage.sent("verb:status")]
    assert {"event": "starting", "id": "s", "name": "say"} in events
    assert {"event": "start-playback", "id": "s", "verb": "say"} in events
    assert {"event": "stop-playback", "id": "s", "verb": "say"} in events
    assert events[-1] == {"event": "starting", "name": "pause"}
    assert all("call_sid" not in event for event in events)


@pytest.mark.parametrize("verb", [HELLO[0], {"verb": "play", "url": "x"}], ids=["say", "play"])
def test_killed_playback_is_told(verb: dict[str, Any]) -> None:
    stage = running([{"verb": "config", "notifyEvents": True}, verb]).command("redirect", PAUSE)
    assert "kill-playback" in [frame["data"]["event"] for frame in stage.sent("verb:status")]


def test_barge_in_kills_the_verb_and_clears_the_stack_up_to_its_end() -> None:
    """Section 2.8: an empty ack then leaves the session waiting for commands."""
    barge_in = {"enable": True, "input": ["digits"], "actionHook": "/barge"}
    off = {"verb": "config", "bargeIn": {"enable": False}}
    stage = running([{"verb": "config", "bargeIn": barge_in}, *PAUSE, *HELLO, off, *PAUSE])
    assert stage.press("9")
    assert stage.last("verb:hook")["hook"] == "/barge"
    assert stage.verb == "pause"
    assert stage.call.session.barge_in is None
    assert not stage.press("9")


def test_barge_in_takes_only_its_kinds_of_input() -> None:
    barge_in = {"enable": True, "input": ["speech"], "actionHook": "/barge"}
    stage = running([{"verb": "config", "bargeIn": barge_in}, *PAUSE])
    assert not stage.press("9")
    assert stage.speak("stop")


BARGE_IN = {"enable": True, "input": ["digits"], "actionHook": "/barge"}


@pytest.mark.parametrize("sticky", [False, True])
def test_only_a_sticky_barge_in_listens_again_once_its_hook_is_acked(*, sticky: bool) -> None:
    """bg-task-manager.js, _initBargeIn."""
    stage = running([{"verb": "config", "bargeIn": {**BARGE_IN, "sticky": sticky}}, *PAUSE])
    assert stage.press("1")
    assert not stage.press("2")
    assert stage.ack(stage.last("verb:hook"), PAUSE).verb == "pause"
    assert stage.press("3") == sticky
    assert len(stage.sent("verb:hook", "/barge")) == 1 + sticky


def test_barge_in_that_is_set_anew_meanwhile_listens() -> None:
    stage = running([{"verb": "config", "bargeIn": BARGE_IN}, *PAUSE])
    assert stage.press("1")
    stage.command("config", {"bargeIn": BARGE_IN}).ack(stage.last("verb:hook"), PAUSE)
    assert stage.press("2")


def test_barge_in_listens_to_speech_unless_told_otherwise() -> None:
    """tasks/config.js, constructor."""
    stage = running([{"verb": "config", "bargeIn": {"enable": True, "actionHook": "/barge"}}, *PAUSE])
    assert not stage.press("1")
    assert stage.speak("stop")


def test_verbs_of_a_redirect_do_not_wait_for_the_hook_of_a_barge_in() -> None:
    """It runs beside the stack."""
    stage = running([{"verb": "config", "bargeIn": BARGE_IN}, *PAUSE])
    stage.press("1")
    assert stage.command("redirect", GATHER).command("redirect", HELLO).verb == "say"


def test_barge_in_interrupts_streamed_speech() -> None:
    """Section 4.4."""
    barge_in = {"enable": True, "actionHook": "/barge"}
    stage = running([{"verb": "config", "bargeIn": barge_in, "ttsStream": {"enable": True}}, *PAUSE]).advance(1)
    stage.speak("stop")
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "user_interruption"}


def test_nobody_listens_to_digits_during_a_plain_verb() -> None:
    assert not running(PAUSE).press("1")


@pytest.mark.parametrize(
    ("verb", "long_form"),
    [
        ({"say": {"text": "Hi"}}, {"verb": "say", "text": "Hi"}),
        ({"verb": "stream", "url": "u"}, {"verb": "listen", "url": "u"}),
        (
            {"verb": "openai_s2s", "llmOptions": {}},
            {"vendor": "openai", "verb": "llm", "llmOptions": {}},
        ),
    ],
    ids=["short_form", "alias", "vendor_alias"],
)
def test_verbs_are_read_in_all_their_forms(verb: dict[str, Any], long_form: dict[str, Any]) -> None:
    """Sections 3.3 and 11."""
    assert read_verbs([verb]) == [long_form]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([7], "expected an object, got int"),
        ([{"text": 1, "loop": 2}], "no verb"),
        ([{"say": "Hi"}], "no verb"),
        ([{"verb": "s2s", "llmOptions": {}}], "missing value for 'vendor'"),
    ],
    ids=["no_object", "no_verb", "short_form_of_a_text", "vendor_missing"],
)
def test_malformed_verbs_are_refused(data: Any, message: str) -> None:
    with pytest.raises(InvalidVerbs, match=message):
        read_verbs(data)


def test_hooks_may_be_objects() -> None:
    """Section 1.6."""
    assert hook_path({"url": "/a", "method": "POST"}) == "/a"
    assert hook_path({"url": 1}) is None
    assert hook_path("") is None


@pytest.mark.parametrize("value", [True, -1, "7", None])
def test_odd_numbers_of_verbs_are_the_default(value: Any) -> None:
    assert number(value, 5.0) == 5.0


def test_script_of_a_queued_file_length_is_used() -> None:
    assert running([{"verb": "play", "url": "x"}], Script(play_s=9)).advance(8).verb == "play"


def test_stage_without_a_call_says_so() -> None:
    with pytest.raises(AssertionError, match="not over"):
        _ = Stage().start().outcome
