"""Directives, their batches, outcomes and the messages of the call channel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.directive import (
    Ack,
    AppChanged,
    BatchSent,
    CallEnded,
    ChannelMessage,
    Close,
    Command,
    ConnectionAttached,
    ConnectionLeft,
    Directive,
    OwnerChanged,
    decode,
    decode_batch,
    decode_channel_message,
    encode,
    encode_batch,
)
from jambonz_shared.errors import BadFormat
from jambonz_shared.outcome import Outcome, OutcomeKind

WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
BODIES = st.binary(max_size=60)
DIRECTIVES: st.SearchStrategy[Directive] = st.one_of(
    st.builds(Ack, WORDS, st.integers(0, 2**53), WORDS, BODIES, st.booleans(), WORDS),
    st.builds(Command, WORDS, BODIES, WORDS),
    st.builds(Close, WORDS, st.integers(0, 4999), WORDS),
)


@given(directives=st.lists(DIRECTIVES, max_size=5))
def test_batch_survives_the_way(directives: list[Directive]) -> None:
    """One commit's Directives arrive whole and in order, whatever bytes they carry."""
    assert decode_batch(encode_batch(directives)) == directives


def test_bytes_are_those_of_the_architecture_page() -> None:
    """Processes of two versions meet during a deploy: the format is a promise (architecture.md section 3)."""
    assert encode(Ack("d1", 2, "m1", b"[]", True, "w1")) == b"1\x1fA\x1fd1\x1f2\x1fm1\x1fr\x1fw1\n[]"
    assert encode(Command("d2", b"{}")) == b"1\x1fC\x1fd2\x1f0\x1f\x1f\x1f\n{}"
    assert encode(Close("d3", 1012)) == b"1\x1fX\x1fd3\x1f0\x1f1012\x1f\x1f\n"
    assert encode_batch([Close("d3", 1012)] * 2) == b"16:1\x1fX\x1fd3\x1f0\x1f1012\x1f\x1f\n" * 2


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"1\x1fA\x1fd\x1f1\x1fm\x1f\x1f", id="no_line_feed"),
        pytest.param(b"2\x1fA\x1fd\x1f1\x1fm\x1f\x1f\n", id="other_version"),
        pytest.param(b"1\x1fA\x1fd\x1f1\x1fm\x1f\n", id="field_missing"),
        pytest.param(b"1\x1fA\x1fd\x1fx\x1fm\x1f\x1f\n", id="epoch_is_no_number"),
        pytest.param(b"1\x1fX\x1fd\x1f0\x1fx\x1f\x1f\n", id="code_is_no_number"),
        pytest.param(b"1\x1fC\x1f\xff\x1f0\x1f\x1f\x1f\n", id="no_utf8"),
        pytest.param(b"1\x1fZ\x1fd\x1f0\x1f\x1f\x1f\n", id="unknown_op"),
    ],
)
def test_directive_nobody_can_read_is_an_error_with_a_name(raw: bytes) -> None:
    """A gateway skips and counts such a batch instead of blocking the call."""
    with pytest.raises(BadFormat):
        decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"garbage", id="no_length"),
        pytest.param(b":x", id="empty_length"),
        pytest.param(b"-1:x", id="negative_length"),
        pytest.param(b"99:x", id="cut_off"),
        pytest.param(b"12345678901:x", id="length_too_long"),
        pytest.param(b"1:x", id="no_directive"),
    ],
)
def test_batch_nobody_can_read_is_an_error_with_a_name(raw: bytes) -> None:
    """As above."""
    with pytest.raises(BadFormat):
        decode_batch(raw)


@given(raw=st.binary(max_size=80))
def test_any_bytes_are_a_batch_or_an_error_with_a_name(raw: bytes) -> None:
    """P9: the log is read by processes that hold other calls."""
    try:
        decode_batch(raw)
    except BadFormat:
        return


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"D7\nbatch\nmore", BatchSent(7, b"batch\nmore"), id="batch"),
        pytest.param(b"O12\x1fworker-1", OwnerChanged(12, "worker-1"), id="owner"),
        pytest.param(b"O13\x1f", OwnerChanged(13, ""), id="nobody_owns"),
        pytest.param(b"Asales", AppChanged("sales"), id="transferred"),
        pytest.param(b"N3\x1fside", ConnectionAttached(3, "side"), id="attached"),
        pytest.param(b"L3", ConnectionLeft(3), id="left"),
        pytest.param(b"E", CallEnded(), id="ended"),
    ],
)
def test_channel_message_is_read(raw: bytes, message: ChannelMessage) -> None:
    """The bytes of architecture.md section 4, as the scripts publish them."""
    assert decode_channel_message(raw) == message


@pytest.mark.parametrize("raw", [b"", b"Z1", b"Dx\n", b"D\n", b"D7", b"Ox\x1fw", b"O1\x1f\xff", b"Nx\x1fmain", b"Lx"])
def test_channel_message_nobody_can_read_is_an_error_with_a_name(raw: bytes) -> None:
    """One bad message must not silence the channels of a whole gateway."""
    with pytest.raises(BadFormat):
        decode_channel_message(raw)


@given(directive_id=WORDS, kind=st.sampled_from(OutcomeKind), reason=WORDS)
def test_outcome_survives_the_way(directive_id: str, kind: OutcomeKind, reason: str) -> None:
    """P4: the sender learns exactly what became of its command."""
    outcome = Outcome(directive_id, kind, reason)
    assert Outcome.decode(outcome.encode()) == outcome


@pytest.mark.parametrize("raw", [b"", b"d1\x1fsent", b"d1\x1flost\x1f", b"d1\x1fsent\x1f\x1f", b"\xff\x1fsent\x1f"])
def test_outcome_nobody_can_read_is_an_error_with_a_name(raw: bytes) -> None:
    """Another version, or another's channel."""
    with pytest.raises(BadFormat):
        Outcome.decode(raw)
