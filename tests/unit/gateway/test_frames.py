"""The short way of usual frames says the same as the websockets core."""

import time

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from jambonz_gateway.frames import Unread, frame_length, ping_frame, pong_in, text_frame, text_of

# Lengths around those where the header grows (RFC 6455 5.2).
LENGTHS = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536]) | st.integers(0, 300)


@given(LENGTHS)
def test_text_frame_is_what_the_core_writes(length: int) -> None:
    """A server's frames carry no mask."""
    payload = b"x" * length
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(LENGTHS, st.binary(max_size=20))
def test_masked_text_is_read(length: int, before: bytes) -> None:
    """Wherever in the data the frame begins."""
    payload = bytes(number % 251 for number in range(length))
    frame = Frame(Opcode.TEXT, payload).serialize(mask=True)
    data = before + frame + b"next"
    assert frame_length(data, len(before)) == len(frame)
    assert text_of(data, len(before), len(before) + len(frame)) == payload


@given(st.sampled_from(Opcode), st.booleans(), st.booleans())
def test_only_a_whole_masked_text_takes_the_short_way(opcode: Opcode, is_final: bool, is_masked: bool) -> None:
    """All else is the core's."""
    is_final = is_final or opcode in CTRL_OPCODES  # these cannot be fragmented
    frame = Frame(opcode, b"{}", fin=is_final).serialize(mask=is_masked)
    assert frame_length(frame, 0) == len(frame)
    is_usual = opcode is Opcode.TEXT and is_final and is_masked
    assert text_of(frame, 0, len(frame)) == (b"{}" if is_usual else None)


@given(LENGTHS, st.booleans())
def test_length_is_unknown_until_the_header_is_here(length: int, is_masked: bool) -> None:
    """It is told as soon as the bytes that say it are here, and never wrongly."""
    frame = Frame(Opcode.TEXT, b"x" * length).serialize(mask=is_masked)
    header = 2 if length < 126 else 4 if length < 65_536 else 10
    told = [frame_length(frame[:here], 0) for here in range(min(len(frame), 20) + 1)]
    assert told == [0 if here < header else len(frame) for here in range(len(told))]


@given(number=st.integers(0, 2**32 - 1), before=st.binary(max_size=4))
def test_a_pong_tells_which_ping_it_answers(number: int, before: bytes) -> None:
    """A peer repeats what the ping has said (RFC 6455 5.5.3); the core writes and reads it."""
    ping = ping_frame(number)
    payload = ping[2:]
    assert ping == Frame(Opcode.PING, payload).serialize(mask=False)
    data = before + Frame(Opcode.PONG, payload).serialize(mask=True)
    assert pong_in(data, len(before), len(data)) == number


def test_other_frames_answer_no_ping() -> None:
    """A pong that nobody has asked for is a sign of life, and no more."""
    unasked = Frame(Opcode.PONG, b"keepalive").serialize(mask=True)
    assert pong_in(unasked, 0, len(unasked)) == 0
    text = Frame(Opcode.TEXT, b"1234").serialize(mask=True)
    assert pong_in(text, 0, len(text)) == -1


@given(st.binary(min_size=2, max_size=2).map(lambda start: b"\x8a" + start[1:]), st.binary(max_size=200))
def test_pong_that_the_core_refuses_is_its_to_refuse(start: bytes, more: bytes) -> None:
    """Without a mask, or of more than 125 bytes: one of 1 MB counted as little as one without any."""
    data = start + more
    length = frame_length(data, 0)
    if not 0 < length <= len(data):
        return
    core = Protocol(Side.SERVER, state=State.OPEN)
    core.receive_data(data[:length])
    assert (pong_in(data, 0, length) < 0) == (core.parser_exc is not None)


@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(1, 7), min_size=60, max_size=60), st.integers(0, 60))
def test_what_comes_in_pieces_is_taken_whole(data: bytes, sizes: list[int], begun: int) -> None:
    """Whatever the pieces; it is worth taking when what was missing is here."""
    unread, at, is_worth = Unread(), begun, True
    unread.keep(data[:begun], len(data) - begun)
    for size in sizes:
        if at < len(data):
            is_worth = unread.add(data[at : at + size])
            at += size
            assert is_worth == (at >= len(data))
            assert len(unread) == min(at, len(data))
    assert unread.take() == data
    assert (len(unread), unread.take()) == (0, b"")
    assert unread.add(b"next")
    assert unread.take() == b"next"


def test_frame_that_dribbles_in_costs_no_more_than_its_bytes() -> None:
    """Each byte added to 900 kB by a copy of all takes 100 us: 20 such sockets, a third of a core."""
    unread = Unread()
    unread.keep(b"y" * 900_000, 100_000)
    before_s = time.process_time()
    for _ in range(100_000):
        unread.add(b"y")
    assert time.process_time() - before_s < 2.0
    assert len(unread.take()) == 1_000_000
