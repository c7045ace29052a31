"""What stands for a core says the same as a core would."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State

from jambonz_gateway import core as cores

LIMIT_BYTES = 1 << 20


def facts(core: Protocol) -> tuple[object, ...]:
    """Return everything of a core that a Connection looks at."""
    return core.state, core.eof_sent, core.current_size, core.close_rcvd, core.close_sent, core.close_rcvd_then_sent


def test_core_that_is_not_needed_is_one_that_has_done_nothing() -> None:
    """So it may be made at any time."""
    assert facts(cores.NOT_NEEDED) == facts(cores.own_core(cores.NOT_NEEDED, LIMIT_BYTES))
    assert cores.NOT_NEEDED.state is State.OPEN


def test_core_that_was_needed_once_stays() -> None:
    """It may be in the middle of a message."""
    core = cores.own_core(cores.NOT_NEEDED, LIMIT_BYTES)
    assert core is not cores.NOT_NEEDED
    assert cores.own_core(core, LIMIT_BYTES) is core


@given(st.binary(min_size=4, max_size=4))
def test_usual_close_is_answered_as_by_the_core(mask: bytes) -> None:
    """Whatever its mask."""
    frame = b"\x88\x82" + mask + bytes(byte ^ key for byte, key in zip(b"\x03\xe8", mask, strict=False))
    core = cores.own_core(cores.NOT_NEEDED, LIMIT_BYTES)
    core.receive_data(frame)
    assert cores.is_hang_up(frame)
    assert core.data_to_send() == [cores.HANG_UP_ANSWER, b""]
    assert facts(core) == facts(cores.HUNG_UP)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False), id="not_masked"),
        pytest.param(Frame(Opcode.CLOSE, b"\x03\xe9").serialize(mask=True), id="another_code"),
        pytest.param(Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True), id="a_reason"),
        pytest.param(Frame(Opcode.CLOSE, b"").serialize(mask=True), id="no_code"),
        pytest.param(Frame(Opcode.PING, b"\x03\xe8").serialize(mask=True), id="a_ping"),
    ],
)
def test_any_other_frame_is_no_usual_close(frame: bytes) -> None:
    """The core answers those."""
    assert not cores.is_hang_up(frame)


@pytest.mark.parametrize("payload", [b"", b"ab"], ids=["empty", "short"])
def test_fragments_take_the_room_of_their_bytes(payload: bytes) -> None:
    """The core counts bytes, not frames: without an end, empty ones filled the memory, and short ones thirty-fold."""
    core, fragments = cores.own_core(cores.NOT_NEEDED, LIMIT_BYTES), bytearray()
    first = Frame(Opcode.TEXT, payload, fin=False).serialize(mask=True)
    core.receive_data(first + Frame(Opcode.CONT, payload, fin=False).serialize(mask=True) * 999)
    for frame in core.events_received():
        assert isinstance(frame, Frame)
        assert cores.message_of(frame, fragments) is None
    assert sys.getsizeof(fragments) < 2 * 1000 * len(payload) + 100
    assert cores.message_of(Frame(Opcode.CONT, b"!"), fragments) == payload * 1000 + b"!"
    assert not fragments
