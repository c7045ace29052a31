"""The gather verb: prompt, digits, speech, time limits, hooks (PROTOCOL.md 2.8)."""

from typing import Any

import pytest

from tests.unit.simulator.stage import GATHER, PAUSE, running


@pytest.mark.parametrize("verbs", [[{"verb": "nonsense"}], None], ids=["invalid", "late"])
def test_gather_reports_a_late_or_invalid_ack_and_goes_on(verbs: Any) -> None:
    """Section 2.8: jambonz:error and call:status with error; pitfall 7."""
    stage = running([{**GATHER[0], "id": "g"}, *PAUSE])
    stage.press("2")
    if verbs is None:
        stage.advance(5)
    else:
        stage.ack(stage.last("verb:hook"), verbs)
    error = stage.last("jambonz:error")["data"]
    assert (error["msg"], error["verb"], error["id"]) == ("invalid actionHook response", "gather", "g")
    assert "error" in stage.last("call:status")["data"]
    assert stage.verb == "pause"


def test_gather_without_a_hook_goes_on() -> None:
    stage = running([{"verb": "gather", "input": ["digits"], "numDigits": 1}, *PAUSE])
    assert stage.press("1")
    assert stage.verb == "pause"


def test_gather_times_out_after_its_prompt() -> None:
    prompt = {"text": "x" * 100}
    stage = running([{**GATHER[0], "timeout": 3, "say": prompt}]).advance(6 + 2.9)
    assert stage.sent("verb:hook") == []
    assert stage.advance(0.2).last("verb:hook")["data"]["reason"] == "timeout"


def test_gather_with_timeout_0_waits_for_ever() -> None:
    stage = running([{**GATHER[0], "timeout": 0, "play": {"url": "a.wav"}}]).advance(3600)
    assert stage.verb == "gather"


def test_digits_cut_the_prompt_short() -> None:
    stage = running([{**GATHER[0], "say": {"text": "x" * 100}}]).advance(1)
    assert stage.press("1")
    assert stage.last("verb:hook")["data"]["digits"] == "1"


def test_digits_are_collected_up_to_the_finish_key() -> None:
    stage = running([{"verb": "gather", "finishOnKey": "#", "actionHook": "/d"}])
    stage.press("12")
    assert stage.sent("verb:hook") == []
    stage.press("3#")
    assert stage.last("verb:hook")["data"]["digits"] == "123"


def test_gather_without_a_timeout_waits_15_s() -> None:
    """tasks/gather.js, constructor."""
    stage = running(GATHER).advance(14.9)
    assert stage.sent("verb:hook") == []
    assert stage.advance(0.2).last("verb:hook")["data"]["reason"] == "timeout"


@pytest.mark.parametrize("more", [{}, {"interDigitTimeout": 1}, {"minDigits": 3}], ids=["plain", "inter", "min"])
def test_too_few_digits_are_a_timeout(more: dict[str, Any]) -> None:
    """tasks/gather.js, _startTimer: digits do not prolong the time, and are not told."""
    stage = running([{"verb": "gather", "timeout": 4, "numDigits": 4, "actionHook": "/d", **more}]).advance(3)
    stage.press("12")
    stage.advance(0.9)
    assert stage.sent("verb:hook") == []
    data = stage.advance(0.2).last("verb:hook")["data"]
    assert (data["reason"], data.get("digits")) == ("timeout", None)


def test_digits_that_do_are_told_when_the_time_is_up() -> None:
    stage = running([{"verb": "gather", "timeout": 4, "minDigits": 2, "actionHook": "/d"}]).advance(3)
    stage.press("12")
    data = stage.advance(1.1).last("verb:hook")["data"]
    assert (data["reason"], data["digits"]) == ("dtmfDetected", "12")


def test_digits_are_collected_up_to_the_inter_digit_timeout() -> None:
    """tasks/gather.js, _onDtmf: it starts when there are minDigits, and has the last word then."""
    stage = running([{"verb": "gather", "interDigitTimeout": 2, "minDigits": 1, "timeout": 1, "actionHook": "/d"}])
    stage.press("12")
    stage.advance(1.9)
    assert stage.sent("verb:hook") == []
    assert stage.advance(0.2).last("verb:hook")["data"]["digits"] == "12"


def test_hash_is_a_digit_if_no_finish_key_is_set() -> None:
    """As in the recording `call-llm`."""
    stage = running(GATHER)
    stage.press("#")
    assert stage.last("verb:hook")["data"]["digits"] == "#"


def test_speech_comes_as_alternatives_and_partial_results_want_an_ack() -> None:
    """Section 2.8: nobody waits for the ack of the partial hook, but it is wanted."""
    verb = {"verb": "gather", "input": ["speech"], "actionHook": "/said", "partialResultHook": "/partial"}
    stage = running([verb])
    assert not stage.press("1")
    assert stage.speak("hello there")
    assert stage.last("verb:hook", "/partial")["data"]["speech"]["is_final"] is False
    speech = stage.last("verb:hook", "/said")["data"]["speech"]
    assert speech["alternatives"] == [{"transcript": "hello there", "confidence": 0.8}]
