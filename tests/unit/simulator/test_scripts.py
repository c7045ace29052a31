"""Scripts: what the caller does, JSON form, expectations (docs/reference/simulator.md)."""

from dataclasses import asdict
from typing import Any

import orjson
import pytest

from jambonz_simulator.core.script import (
    Dial,
    DropSocket,
    Expectations,
    HangUp,
    ModelEvent,
    Press,
    Script,
    SendHook,
    SendNotice,
    Speak,
    StaySilent,
    Step,
    ToolCall,
    Wait,
    WaitForVerb,
)
from jambonz_simulator.core.script_reading import ScriptError, read_script
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, Stage, running


def with_steps(*steps: Step, **fields: Any) -> Script:
    return Script(steps=steps, **fields)


def test_caller_presses_when_a_gather_listens() -> None:
    stage = running([*HELLO, *GATHER], with_steps(Press("7", after_s=1))).advance(0.9)
    assert stage.sent("verb:hook") == []
    assert stage.advance(1).last("verb:hook")["data"]["digits"] == "7"


def test_each_press_waits_for_its_own_gather() -> None:
    stage = running([*GATHER, *GATHER], with_steps(Press("1"), Press("2"))).advance(1)
    stage.ack(stage.last("verb:hook"), []).advance(1)
    assert [frame["data"]["digits"] for frame in stage.sent("verb:hook")] == ["1", "2"]


def test_caller_speaks_when_a_gather_listens() -> None:
    verb = {"verb": "gather", "input": ["speech"], "actionHook": "/said"}
    stage = running([verb], with_steps(Speak("hello", 0.5))).advance(1)
    assert stage.last("verb:hook")["data"]["speech"]["alternatives"][0]["confidence"] == 0.5


def test_silent_caller_lets_one_gather_time_out() -> None:
    stage = running([*GATHER, *GATHER], with_steps(StaySilent(), Press("2"))).advance(16)
    stage.ack(stage.last("verb:hook"), []).advance(1)
    assert [frame["data"]["reason"] for frame in stage.sent("verb:hook")] == ["timeout", "dtmfDetected"]


def test_caller_loses_patience_after_the_last_step() -> None:
    stage = running(PAUSE, with_steps(Wait(5), patience_s=10)).advance(14)
    assert stage.call.result is None
    stage.advance(2)
    assert stage.last("call:status")["data"]["call_termination_by"] == "caller"


def test_caller_who_waits_for_the_app_in_vain_gives_up() -> None:
    """A call that has gone silent ends, and is not good: nobody stays in it for ever."""
    stage = running(PAUSE, with_steps(StaySilent(), Press("1"), WaitForVerb("say"), Speak("hi"), patience_s=3))
    stage.advance(2.9)
    assert stage.anomalies() == []
    stage.advance(0.2)
    assert stage.anomalies() == ["caller_gave_up"]
    assert stage.last("call:status")["data"]["call_termination_by"] == "caller"
    # Nobody is there any more who could lose patience, or speak.
    assert stage.advance(20).anomalies() == ["caller_gave_up"]


def test_speed_shortens_media_and_people_but_not_the_protocol() -> None:
    stage = running([{"verb": "pause", "length": 100}, *GATHER], with_steps(Press("1")), speed=100).advance(1.1)
    assert stage.sent("verb:hook") != []
    stage.advance(4.8)
    assert stage.anomalies() == []
    assert stage.advance(0.2).anomalies() == ["deadline_missed"]


def test_steps_are_done_in_order() -> None:
    steps = (WaitForVerb("pause"), SendNotice("llm:event", {"n": 1}), SendHook("/x"), DropSocket(1012), HangUp())
    stage = running([*HELLO, *PAUSE], with_steps(*steps)).advance(0.2)
    assert stage.sent("llm:event") == []
    stage.advance(1)
    assert stage.aborted == []
    stage.ack(stage.last("verb:hook"), []).advance(1)
    assert stage.aborted == [1]
    assert stage.outcome == "completed"


def test_steps_of_a_test_and_of_the_script_wait_side_by_side() -> None:
    stage = running([*HELLO, *GATHER], with_steps(WaitForVerb("pause"), HangUp()))
    stage.do(Press("1")).advance(2)
    assert stage.last("verb:hook")["data"]["digits"] == "1"
    assert stage.ack(stage.last("verb:hook"), PAUSE).advance(1).outcome == "completed"


def test_what_the_caller_does_is_in_the_transcript() -> None:
    stage = running(GATHER)
    stage.press("1")
    stage.speak("x")
    stage.hang_up()
    frames = [entry.frame for entry in stage.call.world.ledger.entries if entry.who == "caller"]
    assert frames == [{"presses": "1"}, {"says": "x"}, {"hangs": "up"}]


def test_transcript_is_like_a_recording() -> None:
    stage = running(PAUSE).server_closes(1012).advance(0.5)
    entries = stage.call.world.ledger.entries
    assert entries[0].frame == {"http": "GET", "path": "/ivr", "subprotocol": "ws.jambonz.org"}
    assert [e.frame for e in entries if "close" in e.frame] == [{"close": 1012}]
    assert [e.who for e in entries[:3]] == ["jambonz", "jambonz", "server"]


def test_opening_of_a_bare_host_has_the_root_path() -> None:
    stage = Stage(url="ws://app.test").start()
    assert stage.call.world.ledger.entries[0].frame["path"] == "/"


def test_transcript_is_not_kept_when_nobody_wants_it() -> None:
    stage = running([{"verb": "hangup"}], keeps_entries=False).advance(1)
    assert stage.result is not None
    assert stage.result.entries == ()
    assert len(stage.result.hooks) == 1


def test_met_expectations_leave_no_trace() -> None:
    expects = Expectations(outcome="completed", says=("Hello", "press", "late"), hooks=("/menu",))
    verbs: list[dict[str, Any]] = [*HELLO, {**GATHER[0], "say": {"text": "press one"}}]
    stage = running(verbs, with_steps(Press("1"), expects=expects)).advance(5)
    stage.ack(stage.last("verb:hook"), []).command(
        "redirect", [{"verb": "say", "text": "too late"}, {"verb": "hangup"}]
    )
    stage.advance(2)
    assert stage.result is not None
    assert stage.result.is_good


def test_unmet_expectations_are_anomalies() -> None:
    expects = Expectations(outcome="rejected", says=("Bye",), hooks=("/menu",))
    stage = running([*HELLO], Script(expects=expects)).command("redirect", {"call_hook": "/x"})
    stage.hang_up().advance(1)
    assert stage.result is not None
    details = [anomaly.detail for anomaly in stage.result.anomalies]
    assert details == ["outcome rejected, not completed", "hook /menu acked", "says 'Bye'"]
    assert not stage.result.is_good


def test_result_is_json() -> None:
    stage = running(PAUSE).hang_up().advance(1)
    assert stage.result is not None
    value = orjson.loads(orjson.dumps(stage.result.to_json()))
    assert value["outcome"]["kind"] == "completed"
    assert value["direction"] == "inbound"


def test_script_is_read_with_all_its_parts() -> None:
    value = {
        "direction": "outbound",
        "steps": [{"do": "press", "digits": "1", "after_s": 2}, {"do": "hang_up"}],
        "model": [
            {"do": "tool_call", "name": "f", "args": {"a": 1}},
            {"do": "event", "data": {}},
            {"do": "wait", "seconds": 1},
        ],
        "dials": [{"end": "busy", "talk_s": None}],
        "answer": {"ring_s": 3},
        "expects": {"outcome": "completed", "says": ["Hello"]},
        "patience_s": None,
        "model_ends": True,
    }
    script = read_script(value, "mine")
    assert script.name == "mine"
    assert script.steps == (Press("1", 2), HangUp())
    assert script.model == (ToolCall("f", {"a": 1}), ModelEvent({}), Wait(1))
    assert (script.dials, script.answer) == ((Dial("busy", talk_s=None),), Dial(ring_s=3))
    assert script.expects == Expectations("completed", ("Hello",))


def test_empty_script_is_the_default_one() -> None:
    assert asdict(read_script({}, "x")) == asdict(Script(name="x"))


def test_all_problems_of_a_script_are_told_at_once() -> None:
    value = {
        "direction": "sideways",
        "colour": "blue",
        "steps": [{"do": "dance"}, 7, {"do": "press"}, {"do": "press", "digits": 1}, {"do": "wait", "seconds": True}],
        "model": "x",
        "dials": [],
        "answer": 7,
        "name": None,
        "model_ends": 1,
        "play_s": "long",
        "env_vars": [],
        "expects": {"says": "Hello"},
    }
    with pytest.raises(ScriptError) as caught:
        read_script(value, "bad")
    for problem in (
        'steps[0]: expected "do" to be one of press',
        "steps[1]: expected",
        "steps[2]: 'digits' is missing",
        "steps[3].digits: expected a text, got 1",
        "steps[4].seconds: expected a number, got True",
        "model: expected a list, got str",
        "dials: expected a list with at least one dial",
        "answer: expected an object, got int",
        "script: unknown field 'colour'",
        "script.direction: expected one of inbound, outbound, got 'sideways'",
        "script.name: expected a value, got None",
        "script.model_ends: expected true or false, got 1",
        "script.play_s: expected a number, got 'long'",
        "script.env_vars: expected an object, got []",
        "expects.says: expected a list, got 'Hello'",
    ):
        assert problem in str(caught.value)


@pytest.mark.parametrize("value", [[], "x", None])
def test_script_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ScriptError, match="expected an object"):
        read_script(value, "bad")


def test_callee_may_press_nothing() -> None:
    assert read_script({"dials": [{"digits": ""}]}, "x").dials == (Dial(digits=""),)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"steps": [{"do": "press", "digits": ""}]}, "steps[0].digits: expected at least one digit, got ''"),
        ({"steps": [{"do": "wait", "seconds": -1}]}, "steps[0].seconds: expected 0 or more seconds, got -1"),
        ({"patience_s": -0.5}, "script.patience_s: expected 0 or more seconds, got -0.5"),
    ],
)
def test_nothing_to_press_and_time_that_goes_back_are_refused(value: Any, problem: str) -> None:
    with pytest.raises(ScriptError) as caught:
        read_script(value, "bad")
    assert problem in str(caught.value)


def test_code_of_a_dropped_socket_is_a_whole_number() -> None:
    with pytest.raises(ScriptError, match="expected a whole number"):
        read_script({"steps": [{"do": "drop_socket", "code": "x"}]}, "bad")


def test_notice_that_wants_an_ack_is_refused_when_the_script_is_read() -> None:
    with pytest.raises(ScriptError, match=r"steps\[0\]\.kind: expected one of .*llm:event.*, got 'verb:hook'"):
        read_script({"steps": [{"do": "send_notice", "kind": "verb:hook"}]}, "bad")
    assert read_script({"steps": [{"do": "send_notice", "kind": "llm:event"}]}, "good").steps == (
        SendNotice("llm:event"),
    )


def test_notice_whose_type_is_no_text_is_one_problem() -> None:
    with pytest.raises(ScriptError, match=r"bad': steps\[0\]\.kind: expected a text, got 7$"):
        read_script({"steps": [{"do": "send_notice", "kind": 7}]}, "bad")


HANGUP = [{"verb": "say", "text": "Please call again later."}, {"verb": "hangup"}]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((Press("1"),), id="press"),
        pytest.param((Wait(0), Speak("hi"), HangUp()), id="speak"),
        pytest.param((StaySilent(),), id="stay_silent"),
        pytest.param((WaitForVerb("gather"), HangUp()), id="wait_for_verb"),
        pytest.param((Wait(60), SendHook("/x")), id="send_hook"),
    ],
)
def test_call_that_ends_before_the_script_is_played_is_not_good(steps: tuple[Step, ...]) -> None:
    """An app that only ever answers with its fallback has served nobody."""
    stage = running(HANGUP, with_steps(*steps, patience_s=30)).advance(10)
    assert stage.outcome == "completed"
    assert stage.anomalies() == ["script_unfinished"]
    assert stage.result is not None
    assert not stage.result.is_good


def test_declined_caller_who_had_steps_left_is_not_good() -> None:
    stage = running([{"verb": "sip:decline", "status": 603}], with_steps(Press("1"))).advance(10)
    assert (stage.outcome, stage.anomalies()) == ("unanswered", ["script_unfinished"])


@pytest.mark.parametrize(
    ("verbs", "steps"),
    [
        pytest.param([*PAUSE], (Wait(1), HangUp(), Press("1")), id="caller_hangs_up"),
        pytest.param(HANGUP, (Wait(60), HangUp()), id="only_waiting_left"),
        pytest.param([{"verb": "gather", "timeout": 1}, {"verb": "hangup"}], (StaySilent(),), id="silence_to_the_end"),
    ],
)
def test_script_that_needs_the_app_no_more_is_finished(verbs: list[dict[str, Any]], steps: tuple[Step, ...]) -> None:
    stage = running(verbs, with_steps(*steps)).advance(10)
    assert (stage.outcome, stage.anomalies()) == ("completed", [])
