"""Acks that count, acks that do not, frames that jambonz refuses (PROTOCOL.md 2.3, 3.1)."""

from typing import Any

import pytest

from jambonz_simulator.core.script import SendHook, SendNotice
from tests.unit.simulator.stage import GATHER, PAUSE, Stage, running


def test_duplicate_ack_is_discarded_and_counted() -> None:
    """Section 2.3."""
    stage = running(PAUSE).do(SendHook("/count"))
    hook = stage.last("verb:hook")
    stage.ack(hook, []).ack(hook, GATHER)
    assert stage.anomalies() == ["duplicate_ack"]
    assert stage.call.hooks[-1].duplicate_acks == 1
    assert stage.call.hooks[-1].verbs == []


def test_late_ack_is_discarded_and_counted() -> None:
    """Section 2.3: the request was rejected after 5 s."""
    stage = running(PAUSE).do(SendHook("/slow")).advance(5)
    stage.ack(stage.last("verb:hook"), [])
    record = stage.call.hooks[-1]
    assert stage.anomalies() == ["deadline_missed", "late_ack"]
    assert (record.dead_by, len(record.late_acks), record.is_acked) == ("timeout", 1, False)
    assert record.latency_s is None


@pytest.mark.parametrize("msgid", ["nobody", 7], ids=["unknown", "no_text"])
def test_unknown_msgid_is_discarded(msgid: Any) -> None:
    stage = running(PAUSE).receive({"type": "ack", "msgid": msgid})
    assert stage.anomalies() == ["unknown_ack"]


def test_ack_of_a_notice_is_an_anomaly() -> None:
    """Pitfall 15."""
    stage = running(PAUSE)
    stage.ack(stage.last("call:status"))
    assert stage.anomalies() == ["ack_of_notice"]


def test_any_ack_clears_the_initial_marker_so_that_a_drop_abandons_session_new() -> None:
    """Section 2.3: never ack anything before session:new."""
    stage = Stage().start().ack("bogus")
    assert stage.anomalies() == ["stray_ack_before_first", "unknown_ack"]
    stage.server_closes(1012)
    assert stage.outcome == "rejected"


def test_ack_is_timed_from_the_sending() -> None:
    stage = running(PAUSE).do(SendHook("/count")).advance(0.25)
    stage.ack(stage.last("verb:hook"), GATHER)
    record = stage.call.hooks[-1]
    assert record.latency_s == pytest.approx(0.25)
    assert record.verbs == GATHER
    assert stage.verb == "pause"


@pytest.mark.parametrize(
    ("frame", "details"),
    [
        pytest.param("not json", "literal", id="no_json"),
        pytest.param([], "type property not supplied", id="no_object"),
        pytest.param({"msgid": "x"}, "type property not supplied", id="no_type"),
        pytest.param({"type": "ping"}, "invalid type property: ping", id="unknown_type"),
        pytest.param({"type": "ack"}, "msgid not supplied", id="ack_without_msgid"),
        pytest.param({"type": "command", "data": {}}, "command property not supplied", id="no_command"),
        pytest.param({"type": "command", "command": "redirect"}, "data property not supplied", id="no_data"),
        pytest.param({"type": "command", "command": "x", "data": 0}, "data property not supplied", id="data_0"),
        pytest.param({"type": "command", "command": "x", "data": ""}, "data property not supplied", id="data_empty"),
        pytest.param({"type": "command", "command": ["x"]}, "data property not supplied", id="odd_command"),
    ],
)
def test_frame_that_the_parser_refuses_is_answered_with_jambonz_error(frame: Any, details: str) -> None:
    """Section 3.1: the socket stays open; `content` echoes the frame."""
    stage = running(PAUSE).receive(frame)
    error = stage.last("jambonz:error")["data"]
    assert error["msg"] == "InvalidMessage"
    assert details in error["details"]
    assert isinstance(error["content"], str)
    assert stage.anomalies() == ["invalid_message"]
    assert stage.closed == []


@pytest.mark.parametrize("data", [{}, []], ids=["empty_object", "empty_list"])
def test_empty_objects_and_lists_are_data(data: Any) -> None:
    """Section 3.1: truth as in JavaScript."""
    stage = running(PAUSE).receive({"type": "command", "command": "redirect", "data": data})
    assert stage.sent("jambonz:error") == []


@pytest.mark.parametrize("command", ["llm:tool-output", "tts:flush", "tts:clear"])
def test_some_commands_need_no_data(command: str) -> None:
    stage = running(PAUSE).command(command)
    assert stage.sent("jambonz:error") == []


def test_json_in_a_binary_frame_is_read() -> None:
    """Section 1.1."""
    stage = running(PAUSE).receive(b'{"type":"command","command":"redirect","data":[]}')
    assert stage.verdicts() == [("redirect", "accepted")]


def test_message_of_24576_bytes_is_taken() -> None:
    """Section 1.1: the limit is inclusive."""
    frame = b'{"type":"ack","msgid":"' + b"x" * (24_576 - 25) + b'"}'
    assert len(frame) == 24_576
    assert running(PAUSE).receive(frame).anomalies() == ["unknown_ack"]


def test_oversize_message_closes_1009_and_reconnects() -> None:
    """Sections 1.1, pitfall 2: the message is lost, pending hooks are abandoned, session:reconnect follows."""
    stage = running(PAUSE).do(SendHook("/count")).receive("x" * 24_577)
    assert stage.closed == [(1, 1009)]
    assert stage.anomalies() == ["oversize"]
    assert stage.call.hooks[-1].dead_by == "drop"
    stage.advance(0.5)
    assert stage.last()["type"] == "session:reconnect"


def test_text_message_that_is_no_utf8_closes_1007_and_reconnects() -> None:
    """The `ws` library looks at each text message (skipUTF8Validation is off); jambonz takes it for a drop."""
    stage = running(PAUSE).do(SendHook("/count")).receive(b'{"type":"ack","msgid":"\xff"}')
    assert stage.closed == [(1, 1007)]
    assert stage.anomalies() == ["invalid_utf8"]
    assert stage.call.hooks[-1].dead_by == "drop"
    stage.advance(0.5)
    assert stage.last()["type"] == "session:reconnect"


def test_text_that_is_no_utf8_in_the_closing_phase_kills_the_feature_server() -> None:
    """Pitfall 1: so does any malformed frame."""
    stage = running(PAUSE)
    stage.answers_close = False
    stage.hang_up().advance(0.02)
    assert stage.receive(b"\xff", connection=1).outcome == "crashed"


def test_size_is_counted_in_bytes_not_characters() -> None:
    assert running(PAUSE).receive("é" * 12_289).anomalies() == ["oversize"]


def test_message_in_the_closing_phase_is_not_read() -> None:
    stage = running(PAUSE)
    stage.answers_close = False
    stage.hang_up().advance(0.02)
    stage.receive({"type": "ack", "msgid": "x"}, connection=1)
    assert stage.anomalies() == ["frame_after_close"]
    stage.server_closes(1006, 1)
    assert stage.call.result is not None
    assert stage.call.result.is_good, "it crossed the close frame on the wire"


def test_oversize_message_in_the_closing_phase_kills_the_feature_server() -> None:
    """Pitfall 1: the process exits, all its calls die, no status is sent."""
    stage = running(PAUSE)
    stage.answers_close = False
    stage.hang_up().advance(0.02)
    stage.receive(b"x" * 24_577, connection=1)
    assert stage.outcome == "crashed"
    assert stage.anomalies() == ["feature_server_crashed"]
    assert stage.aborted == [1]
    stage.receive(b"x" * 24_577, connection=1)
    assert stage.aborted == [1, 1]


def test_message_on_a_socket_that_is_gone_is_ignored() -> None:
    stage = running(PAUSE).hang_up().advance(0.02)
    stage.receive({"type": "ack", "msgid": "x"}, connection=1)
    assert stage.anomalies() == []


def test_notice_that_wants_an_ack_is_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="wants an ack"):
        running(PAUSE).do(SendNotice("verb:hook"))


def test_notice_is_sent_with_exactly_its_data() -> None:
    stage = running(PAUSE).do(SendNotice("llm:event", {"type": "x", "eventId": 1}, "/events"))
    frame = stage.last("llm:event")
    assert (frame["hook"], frame["data"]) == ("/events", {"type": "x", "event_id": 1})


def test_injected_hook_carries_call_info_and_arguments_verbatim() -> None:
    """As the conformance runner does; `args` pass through untouched (2.1)."""
    stage = running(PAUSE).do(SendHook("/echo", {"someKey": 1}, {"fooBar": {"X-Y": 2}}))
    data = stage.last("verb:hook")["data"]
    assert data["args"] == {"fooBar": {"X-Y": 2}}
    assert data["some_key"] == 1
    assert data["call_sid"] == stage.call.info.call_sid


@pytest.mark.parametrize("queues", [True, False], ids=["appended", "replaced"])
def test_command_in_one_read_with_an_ack_is_done_before_it(queues: bool) -> None:
    """Pitfall 49: what was appended goes with the old verbs, and the older answer replaces a newer redirect."""
    say, gather = {"verb": "say", "text": "Hello"}, {"verb": "gather", "actionHook": "/menu", "timeout": 60}
    redirect = {"type": "command", "command": "redirect", "data": [gather], "queueCommand": queues}
    together = running([{"verb": "gather", "actionHook": "/name", "timeout": 1}]).advance(2)
    ack = {"type": "ack", "msgid": together.last("verb:hook")["msgid"], "data": [say, {"verb": "pause", "length": 60}]}
    together.receive(ack, redirect).advance(30)
    assert together.call.session.current_name == "pause"
    apart = running([{"verb": "gather", "actionHook": "/name", "timeout": 1}]).advance(2)
    ack = {"type": "ack", "msgid": apart.last("verb:hook")["msgid"], "data": [say]}
    apart.receive(ack).receive(redirect).advance(30)
    assert apart.call.session.current_name == "gather"
