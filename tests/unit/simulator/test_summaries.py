"""Comparisons, recordings and sums of calls."""

from typing import Any

import pytest

from jambonz_simulator.comparison import differences
from jambonz_simulator.core.records import HookRecord
from jambonz_simulator.core.script import SendHook
from jambonz_simulator.recording import read_recording, retarget
from jambonz_simulator.summary import Summary, overtaken_acks
from tests.unit.simulator.stage import PAUSE, Stage, running


@pytest.mark.parametrize(
    ("expected", "actual", "lines"),
    [
        ({"a": 1, "b": [1]}, {"b": [1], "a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["a: expected 1, got True"]),
        ({"a": 1}, {}, ["a: expected 1, missing"]),
        ({}, {"a": 1}, ["a: not expected, got 1"]),
        ([1, 2], [1], ["list: expected 2 items, got 1"]),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, ["a[0].b: expected 'x', got 'y'"]),
        ({"a": [1]}, {"a": []}, ["a: expected 1 items, got 0"]),
        ("x", 7, ["value: expected 'x', got 7"]),
        ("x" * 100, "y", ["value: expected 'xxxxxxxxx"]),
    ],
)
def test_differences_are_told_by_their_place(expected: Any, actual: Any, lines: list[str]) -> None:
    found = differences(expected, actual)
    assert len(found) == len(lines)
    assert all(one.startswith(start) for one, start in zip(found, lines, strict=True))


LINES = (
    '{"t_ms":0,"connection":1,"from":"jambonz","frame":{"http":"GET","path":"/app","subprotocol":"ws.jambonz.org"}}\n'
    '{"t_ms":1,"connection":1,"from":"jambonz","frame":{"type":"x","urls":["ws://h:1/app","ws://h:1/apple","ws://h:9/audio"]}}\n'
    '{"t_ms":2,"connection":1,"from":"server","frame":{"type":"ack","msgid":"m","data":{"n":1,"url":"wss://h/app/adulting"}}}\n'
)


def test_recording_is_read_and_retargeted() -> None:
    """Only the application's own URL is replaced, a longer path keeps what it adds."""
    recording = retarget(read_recording(LINES, "r"), "ws://new:2/other")
    assert recording.base_path == "/app"
    assert recording.frames[1].frame["urls"] == ["ws://new:2/other", "ws://h:1/apple", "ws://h:9/audio"]
    assert recording.frames[2].frame["data"] == {"n": 1, "url": "ws://new:2/other/adulting"}
    assert [line.is_message for line in recording.frames] == [False, True, True]
    assert recording.frames[2].t_s == 0.002


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1"),
        ("{}", "KeyError"),
        ("7", "TypeError"),
        (LINES.splitlines()[0].replace("jambonz", "me", 1), "got 'me'"),
    ],
)
def test_line_that_is_no_recording_is_told(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recording(line, "r")


def test_recording_without_an_opening_has_no_base_path() -> None:
    with pytest.raises(ValueError, match="opens no websocket"):
        _ = read_recording("", "r").base_path


def finished(stage: Stage) -> Summary:
    stage.hang_up().advance(1)
    assert stage.result is not None
    summary = Summary()
    summary.add(stage.result)
    return summary


def test_summary_counts_hooks_by_their_fate() -> None:
    stage = running(PAUSE).do(SendHook("/late")).advance(5)
    stage.ack(stage.last("verb:hook"))
    stage.do(SendHook("/twice"))
    stage.ack(stage.last("verb:hook")).ack(stage.last("verb:hook"))
    stage.do(SendHook("/open")).command("redirect", PAUSE).command("tag", {})
    summary = finished(stage)
    assert (summary.hooks, summary.acked, summary.deadline_misses, summary.unanswered_hooks) == (4, 2, 1, 1)
    assert (summary.late_acks, summary.duplicate_acks) == (1, 1)
    assert (summary.commands, summary.ignored_commands, summary.lost_commands) == (2, 1, 0)
    assert summary.failed == 1
    assert summary.failures[0].outcome == "completed"
    assert not summary.is_good


def test_hook_that_dies_with_its_socket_is_not_good() -> None:
    """Who closes a websocket owing an answer has lost that. One that is open at the call's end is nobody's fault."""
    stage = running(PAUSE).do(SendHook("/lost")).server_closes(1012).advance(1)
    stage.ack(stage.last("session:reconnect"))
    summary = finished(stage)
    assert (summary.failed, summary.unanswered_hooks, summary.dropped_hooks) == (0, 1, 1)
    assert not summary.is_good
    summary = finished(running(PAUSE).do(SendHook("/open")))
    assert (summary.unanswered_hooks, summary.dropped_hooks, summary.is_good) == (1, 0, True)


def test_summary_keeps_only_the_first_failures() -> None:
    summary = Summary()
    for _ in range(7):
        stage = Stage().start()
        stage.ack(stage.last(), [])
        assert stage.result is not None
        summary.add(stage.result)
    assert (summary.failed, len(summary.failures)) == (7, 5)
    assert summary.to_json()["outcomes"] == {"rejected": 7}


def test_summary_of_good_calls_is_good_and_json() -> None:
    summary = finished(running(PAUSE))
    summary.duration_s = 2.0
    assert summary.is_good
    value = summary.to_json()
    assert (value["calls"], value["calls_per_s"], value["ack_ms"]["max"]) == (1, 0.5, 0.0)
    assert "_latencies_s" not in value


def test_empty_summary_has_no_latency() -> None:
    assert Summary().latency_s(0.5) == 0.0
    assert Summary().to_json()["calls_per_s"] == 0.0


def test_median_of_two_is_the_lower() -> None:
    """A percentile is the least latency that the share of the hooks did not exceed."""
    summary = Summary()
    stage = running(PAUSE)
    for wait_s in (0.0, 1.0):
        stage.do(SendHook("/x")).advance(wait_s)
        stage.ack(stage.last("verb:hook"))
    result = stage.hang_up().advance(1).result
    assert result is not None
    summary.add(result)
    assert [summary.latency_s(share) for share in (0.5, 0.67, 1.0)] == [0.0, 1.0, 1.0]


def hook(sent_at_s: float, acked_at_s: float | None, connection: int = 1) -> HookRecord:
    return HookRecord("m", "verb:hook", "/x", connection, sent_at_s, acked_at_s)


def test_overtaken_acks_are_counted_per_connection() -> None:
    """P2: acks of one call come in the order of its hooks."""
    assert overtaken_acks((hook(0, 1), hook(0.5, 2), hook(0.6, None))) == 0
    assert overtaken_acks((hook(0, 3), hook(0.5, 2))) == 1
    assert overtaken_acks((hook(0, 3), hook(0.5, 2, connection=2))) == 0
