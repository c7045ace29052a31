"""Frames of the jambonz websocket: heads read, acks and commands built."""

import json
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jambonz_shared import wire
from jambonz_shared.errors import BadFrame, MessageTooBig
from jambonz_shared.wire import Head, ack_frame, command_frame, read_head, redirect_frame, split_verbs
from tests.recordings import TRANSCRIPTS


def recorded_frames() -> Iterator[dict[str, Any]]:
    """Yield every message of the real jambonz client; recorded next to the repository."""
    files = sorted(TRANSCRIPTS.glob("*.jsonl"))
    assert files, f"expected the recordings of the real jambonz client in {TRANSCRIPTS}, found none"
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if entry["from"] == "jambonz" and "type" in entry.get("frame", {}):
                yield entry["frame"]


def plain_head(message: dict[str, Any]) -> Head:
    """Return the head as PROTOCOL.md 2.1 defines it, by decoding everything."""
    data = message["data"]
    kind = message["type"]
    return Head(
        kind,
        message["msgid"],
        message.get("call_sid", ""),
        data.get("call_sid", ""),
        is_inbound=kind == "session:new" and data.get("direction") == "inbound",
        is_final=kind == "call:status" and data.get("call_status") in {"completed", "failed", "busy", "no-answer"},
    )


def test_every_recorded_message_is_read() -> None:
    """What the real client sends, both compact and with blanks, is understood in full."""
    count = 0
    for message in recorded_frames():
        compact = json.dumps(message, separators=(",", ":")).encode()
        assert read_head(compact) == plain_head(message)
        assert read_head(json.dumps(message, indent=1).encode()) == plain_head(message)
        count += 1
    assert count > 100


@pytest.mark.parametrize("empty", [b'""', b"null"])
def test_empty_call_sid_is_none(empty: bytes) -> None:
    """The message belongs to the call of its socket; refused, its hook would get no ack (P1)."""
    frame = b'{"type":"verb:hook","msgid":"m1","call_sid":%b,"data":{"call_sid":%b}}' % (empty, empty)
    assert read_head(frame) == Head("verb:hook", "m1", "", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"a\ud83db"', "a\ufffdb"),
        (rb'"\uDE00\uD83D"', "\ufffd\ufffd"),
        (rb'["\ud83d\ude00","\ud83d"]', ["\U0001f600", "\ufffd"]),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\\ud83d\ud83d"', "\\ud83d\ufffd"),
        (rb'"\"\u00e9\ud83d\n"', '"\u00e9\ufffd\n'),
    ],
    ids=["high", "low_first", "beside_a_pair", "before_a_pair", "escaped_backslash", "other_escapes"],
)
def test_half_a_surrogate_pair_does_not_spoil_a_message(text: bytes, value: Any) -> None:
    """JSON.stringify writes such; node and the official SDKs take it for what it is."""
    assert wire.decode_json(text) == value


@given(text=st.text())
def test_json_of_any_text_is_decoded_as_it_is(text: str) -> None:
    """What is mended is what would be refused otherwise."""
    assert wire.decode_json(json.dumps(text).encode()) == text


def test_broken_text_full_of_escapes_takes_no_longer_than_any_other() -> None:
    """P9: it held up all calls of a gateway for 0.3 s per MB."""
    text = rb'{"type":"' + rb"\n" * 4_000_000
    before_s = time.process_time()
    with pytest.raises(orjson.JSONDecodeError):
        wire.decode_json(text)
    assert time.process_time() - before_s < 1.0


def test_text_that_is_no_json_is_refused_with_half_a_pair_in_it_or_without() -> None:
    """Nothing but halves is mended."""
    for text in (b"{", rb'{"a":"\ud83d"'):
        with pytest.raises(orjson.JSONDecodeError):
            wire.decode_json(text)


def test_head_of_a_hook_is_read_without_the_body() -> None:
    """The hot path: decoding whole frames costs 1.6 to 2 us each."""
    frame = b'{"type":"verb:hook","msgid":"m1","call_sid":"a","hook":"/menu","data":{"call_sid":"b","x":tail not read'
    assert read_head(frame) == Head("verb:hook", "m1", "a", "b")


@pytest.mark.parametrize("leg", ["a", "ab", "b"])
def test_call_sid_of_a_leg_is_read_whole_however_it_begins(leg: str) -> None:
    """It is first compared with that of the socket's call, which may be its beginning."""
    frame = f'{{"type":"verb:hook","msgid":"m1","call_sid":"a","data":{{"call_sid":"{leg}","x":1}}}}'.encode()
    assert read_head(frame) == Head("verb:hook", "m1", "a", leg)


def test_members_may_come_in_any_order() -> None:
    """Nothing in the protocol fixes their order; the quick way is only the usual one."""
    frame = b'{"data":{"x":1,"call_sid":"b"},"call_sid":"a","msgid":"m1","type":"verb:hook"}'
    assert read_head(frame) == Head("verb:hook", "m1", "a", "b")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{}", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b'"text"', id="text"),
    ],
)
def test_message_without_facts_names_no_call(data: bytes) -> None:
    """An anonymous reconnect has data {} (PROTOCOL.md 2.6.1)."""
    frame = b'{"type":"session:reconnect","msgid":"m1","data":' + data + b"}"
    assert read_head(frame) == Head("session:reconnect", "m1", "", "")


@pytest.mark.parametrize(
    ("data", "is_inbound"),
    [
        pytest.param({"direction": "inbound"}, True, id="inbound"),
        pytest.param({"direction": "outbound"}, False, id="outbound"),
        pytest.param({"direction": None}, False, id="null"),
        pytest.param({}, False, id="missing"),
    ],
)
def test_direction_is_read_of_session_new(data: dict[str, Any], is_inbound: bool) -> None:
    """Inbound calls have a gate and another fallback (PROTOCOL.md 2.4)."""
    frame = orjson.dumps({"type": "session:new", "msgid": "m", "data": {"call_sid": "a"} | data})
    assert read_head(frame).is_inbound is is_inbound


@pytest.mark.parametrize(
    ("call_status", "is_final"),
    [
        ("completed", True),
        ("failed", True),
        ("busy", True),
        ("no-answer", True),
        ("in-progress", False),
        (["completed"], False),
        ({}, False),
        (None, False),
    ],
)
def test_final_status_is_read_of_call_status(call_status: object, is_final: bool) -> None:
    """A leg is over after it; whatever else stands there is no end and no error."""
    frame = orjson.dumps({"type": "call:status", "msgid": "m", "data": {"call_sid": "a", "call_status": call_status}})
    assert read_head(frame).is_final is is_final


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="no_json"),
        pytest.param(b"\xff\xfe", id="no_utf8"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"7", id="number"),
        pytest.param(b'{"msgid":"m"}', id="no_type"),
        pytest.param(b'{"type":7,"msgid":"m"}', id="type_is_a_number"),
        pytest.param(b'{"type":"","msgid":"m"}', id="type_is_empty"),
        pytest.param(b'{"type":"a b","msgid":"m"}', id="type_with_a_blank"),
        pytest.param(b'{"type":"a\\u001fb","msgid":"m"}', id="type_with_a_separator"),
        pytest.param(b'{"type":"' + b"x" * 65 + b'","msgid":"m"}', id="type_too_long"),
        pytest.param(b'{"type":"verb:hook"}', id="no_msgid"),
        pytest.param(b'{"type":"verb:hook","msgid":null}', id="msgid_is_null"),
        pytest.param(b'{"type":"verb:hook","msgid":"a\\nb"}', id="msgid_with_a_line_feed"),
        pytest.param(b'{"type":"verb:hook","msgid":"' + b"x" * 129 + b'"}', id="msgid_too_long"),
        pytest.param(b'{"type":"verb:hook","msgid":"m","call_sid":7}', id="call_sid_is_a_number"),
        pytest.param(b'{"type":"verb:hook","msgid":"m","call_sid":"a","data":{"call_sid":"a}b"}}', id="brace_in_sid"),
        pytest.param(b'{"type":"verb:hook","msgid":"m","data":{"call_sid":"a\\n"}}', id="line_feed_in_sid"),
        pytest.param(b"[" * 100_000, id="deep_nesting"),
    ],
)
def test_what_jambonz_never_sends_is_a_bad_frame(frame: bytes) -> None:
    """P9: header fields end up in keys and envelopes; whatever could break those is refused here."""
    with pytest.raises(BadFrame):
        read_head(frame)


def test_error_of_a_bad_frame_shows_no_content() -> None:
    """Messages hold what callers say and press."""
    with pytest.raises(BadFrame) as caught:
        read_head(b'{"type":"s3cret word","msgid":"m"}')
    assert "s3cret" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["type", "msgid", "call_sid", "hook", "data", "b3", "x"])
KINDS = st.sampled_from(["session:new", "call:status", "verb:hook", "agent:x"])
TEXTS = st.text(max_size=5) | st.sampled_from(["m1", "a-b", "call_sid", '","data":{', "\\"])
FACTS = st.dictionaries(st.sampled_from(["call_sid", "call_status", "direction", "x"]), JSON | TEXTS, max_size=4)
MESSAGES = st.dictionaries(MEMBERS, KINDS | TEXTS | JSON | FACTS, max_size=7)


@given(message=MESSAGES, is_compact=st.booleans())
@example(message={"type": "verb:hook", "msgid": "m", "hook": 'x"y', "data": {"call_sid": "a"}}, is_compact=True)
def test_quick_way_and_full_decoding_agree(message: dict[str, Any], is_compact: bool) -> None:
    """The pattern is an optimisation: it may never read something else than JSON says."""
    try:
        frame = orjson.dumps(message) if is_compact else json.dumps(message).encode()
    except orjson.JSONEncodeError:
        return
    try:
        head = read_head(frame)
    except BadFrame:
        return
    decoded = wire._decoded_head(frame)
    assert head == decoded


@given(frame=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(frame: bytes) -> None:
    """P9: nothing a peer sends is an error of ours."""
    try:
        head = read_head(frame)
    except BadFrame:
        return
    assert head.kind


def test_ack_carries_data_or_none() -> None:
    """To jambonz an empty list and no data differ (PROTOCOL.md 2.3)."""
    assert ack_frame("m1") == b'{"type":"ack","msgid":"m1"}'
    assert ack_frame("m1", b"[]") == b'{"type":"ack","msgid":"m1","data":[]}'
    assert orjson.loads(ack_frame('m"1'))["msgid"] == 'm"1'


def test_command_has_only_the_members_it_needs() -> None:
    """Jambonz reads camelCase callSid only (pitfall 12); tts:flush has no data (PROTOCOL.md 3.1)."""
    assert command_frame("tts:flush") == b'{"type":"command","command":"tts:flush"}'
    assert orjson.loads(command_frame("dtmf", b'{"dtmf":{"digit":"1"}}', call_sid="a")) == {
        "type": "command",
        "command": "dtmf",
        "callSid": "a",
        "data": {"dtmf": {"digit": "1"}},
    }
    assert orjson.loads(command_frame("llm:tool-output", b"{}", tool_call_id="t1"))["tool_call_id"] == "t1"


@pytest.mark.parametrize("queue", [True, False])
def test_redirect_says_whether_it_waits_its_turn(queue: bool) -> None:
    """False replaces the application, true appends to it (PROTOCOL.md 3.3)."""
    frame = orjson.loads(redirect_frame(b"[]", call_sid="a", queue=queue))
    assert frame == {"type": "command", "command": "redirect", "callSid": "a", "queueCommand": queue, "data": []}


def test_size_is_checked_where_it_can_still_be_changed() -> None:
    """P10: 24,000 bytes are sent, one more is an error with its numbers."""
    assert wire.check_size("reply", b"x" * 24_000)
    with pytest.raises(MessageTooBig) as caught:
        wire.check_size("reply", b"x" * 24_001)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (24_001, 24_000)


@given(sizes=st.lists(st.integers(20, 23_000), max_size=12))
def test_long_list_of_verbs_is_split_in_order_without_loss(sizes: list[int]) -> None:
    """P10: what fits goes into the ack, the rest is appended; each part fits into every frame we build."""
    verbs = [b'{"verb":"say","t":"%b"}' % (b"x" * (size - 20)) for size in sizes]
    parts = split_verbs(verbs)
    assert [verb for part in parts for verb in orjson.loads(part)] == [orjson.loads(verb) for verb in verbs]
    for part in parts:
        assert len(redirect_frame(part, call_sid="x" * 128)) <= wire.MAX_MESSAGE_BYTES
        assert len(ack_frame("m" * 128, part)) <= wire.MAX_MESSAGE_BYTES


def test_no_verbs_are_one_empty_list() -> None:
    """An ack still needs its data."""
    assert split_verbs([]) == [b"[]"]


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        pytest.param(b'{"verb":"say","text":"%b"}' % (b"x" * 24_000), "verb 'say'", id="named"),
        pytest.param(b'{"text":"%b"}' % (b"x" * 24_000), "verb without a name", id="nameless"),
    ],
)
def test_verb_that_fits_nowhere_is_an_error_that_names_it(verb: bytes, name: str) -> None:
    """The author sees which verb, never its content."""
    with pytest.raises(MessageTooBig, match=name) as caught:
        split_verbs([b'{"verb":"pause"}', verb])
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("text", ["793fd249-da02-4f28-92c1-dca91964cb06", "call_1", "a.b:c@d"])
def test_uuids_and_test_ids_are_call_sids(text: str) -> None:
    """What jambonz makes, and what tests and SDKs make up."""
    assert wire.is_call_sid(text)


@pytest.mark.parametrize("text", ["", "a{b", "a}b", "a b", "a\n", "a\x1fb", "x" * 129, "ü"])
def test_what_would_break_a_key_is_no_call_sid(text: str) -> None:
    """Braces would move a key to another slot of Redis Cluster."""
    assert not wire.is_call_sid(text)
