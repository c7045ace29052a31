"""The Envelope: one event on its way from a gateway to a worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFormat

WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
COUNTS = st.integers(0, 2**53)


@given(
    call_sid=WORDS, epoch=COUNTS, n=COUNTS, msgid=WORDS, is_acked=st.booleans(), deaths=st.integers(0, 9),
    body=st.binary(max_size=50),
)  # fmt: skip
def test_envelope_survives_the_way(
    *, call_sid: str, epoch: int, n: int, msgid: str, is_acked: bool, deaths: int, body: bytes
) -> None:
    """Whatever jambonz wrote, line feeds and separators included, arrives as it was."""
    envelope = Envelope(
        call_sid, epoch, n, "verb:hook", msgid, 1, "gw", is_acked, body, deaths, is_quarantined=deaths > 2
    )
    assert Envelope.decode(envelope.encode()) == envelope


def test_bytes_are_those_of_the_architecture_page() -> None:
    """Processes of two versions meet during a deploy: the format is a promise (architecture.md section 2)."""
    envelope = Envelope("a", 2, 7, "session:reconnect", "m1", 1700, "gw-1", True, b'{"x":1}\n')
    assert envelope.encode() == b'1\x1fa\x1f2\x1f7\x1fsession:reconnect\x1fm1\x1f1700\x1fgw-1\x1fa\n{"x":1}\n'


def test_event_that_killed_workers_carries_their_number() -> None:
    """So that the third does not try it again."""
    envelope = Envelope("a", 1, 1, "verb:hook", "m1", 1, "gw", False, b"", deaths=3, is_quarantined=True)
    assert b"\x1fq3\n" in envelope.encode()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"1\x1fa\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\x1f", id="no_line_feed"),
        pytest.param(b"2\x1fa\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\x1f\n", id="other_version"),
        pytest.param(b"1\x1fa\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\n", id="field_missing"),
        pytest.param(b"1\x1fa\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\x1f\x1f\n", id="field_too_many"),
        pytest.param(b"1\x1fa\x1fx\x1f1\x1fk\x1fm\x1f1\x1fgw\x1f\n", id="epoch_is_no_number"),
        pytest.param(b"1\x1f\xff\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\x1f\n", id="no_utf8"),
        pytest.param(b"1\x1fa\x1f1\x1f1\x1fk\x1fm\x1f1\x1fgw\x1fz\n", id="unknown_flag"),
    ],
)
def test_other_bytes_are_an_error_with_a_name(raw: bytes) -> None:
    """A worker drops and counts them; they must not end its reading loop."""
    with pytest.raises(BadFormat):
        Envelope.decode(raw)


@given(raw=st.binary(max_size=80))
def test_any_bytes_are_an_envelope_or_an_error_with_a_name(raw: bytes) -> None:
    """Somebody's hand in Redis."""
    try:
        Envelope.decode(raw)
    except BadFormat:
        return
