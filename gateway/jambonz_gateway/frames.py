"""Websocket frames, cut and built without ceremony: one whole text frame is nearly all that jambonz sends.

websockets' sans-I/O core does the handshake, closing, pings, fragments and every error; the usual frame takes a
shorter way beside it, which costs a quarter (docs/benchmarks). The core sees whole frames only, so it stays in step.
"""

from typing import Final

from websockets.frames import apply_mask  # type: ignore[attr-defined]

# RFC 6455 5.2: FIN and opcode 1 in the first byte, no extension bits; the mask bit above the length in the second.
_FIN_TEXT: Final = 0x81
_MASKED: Final = 0x80
_LENGTH_16: Final = 126

HEADER_BYTES: Final = 14
"""The most that a frame has before its payload: two bytes, a 64-bit length, a mask (RFC 6455 5.2)."""

_PING: Final = b"\x89\x00"
_NUMBERED_PING: Final = b"\x89\x04"
_PONG: Final = 0x8A
_NUMBER_BYTES: Final = 4


class Unread:
    """Bytes of one peer that have come and were not taken yet.

    A frame of 1 MB may come byte by byte: what is behind its beginning is put together when it is whole. Adding each
    read to what is there would copy all of it, and 20 such sockets would take a third of a core.
    """

    __slots__ = ("_begun", "_missing_bytes", "_rest")

    def __init__(self) -> None:
        self._begun = b""
        # Only while somebody dribbles: an empty one takes 56 bytes of each call.
        self._rest: bytearray | None = None
        self._missing_bytes = 0

    def __len__(self) -> int:
        return len(self._begun) + (len(self._rest) if self._rest is not None else 0)

    def add(self, data: bytes) -> bool:
        """Put what has come behind the rest, and return whether it is worth taking."""
        if self._missing_bytes <= 0:
            self._begun += data
            return True
        if self._rest is None:
            self._rest = bytearray()
        self._rest += data
        self._missing_bytes -= len(data)
        return self._missing_bytes <= 0

    def take(self) -> bytes:
        """Return everything, and be empty."""
        data, self._begun, self._missing_bytes = self._begun, b"", 0
        if self._rest is not None:
            data += bytes(self._rest)
            self._rest = None
        return data

    def keep(self, data: bytes, missing_bytes: int) -> None:
        """Begin with what could not be used yet; it is of use when at least so much more has come."""
        self._begun = data
        self._missing_bytes = missing_bytes


def frame_length(data: bytes, at: int) -> int:
    """Return how many bytes the frame that begins at ``at`` has, header included; 0 if too few are here to tell."""
    here = len(data) - at
    if here < 2:
        return 0
    second = data[at + 1]
    length = second & 0x7F
    mask = 4 if second & _MASKED else 0
    if length < _LENGTH_16:
        return 2 + mask + length
    if length == _LENGTH_16:
        return 4 + mask + (data[at + 2] << 8 | data[at + 3]) if here >= 4 else 0
    return 10 + mask + int.from_bytes(data[at + 2 : at + 10], "big") if here >= 10 else 0


def text_of(data: bytes, at: int, end: int) -> bytes | None:
    """Return the payload of the whole frame ``data[at:end]`` if it is an unfragmented, masked text; else None."""
    second = data[at + 1]
    if data[at] != _FIN_TEXT or second < _MASKED:
        return None
    length = second & 0x7F
    return unmasked(data, at + (2 if length < _LENGTH_16 else 4 if length == _LENGTH_16 else 10), end)


def unmasked(data: bytes, mask_at: int, end: int) -> bytes:
    """Return a payload that ends at ``end`` and follows its mask."""
    payload: bytes = apply_mask(data[mask_at + 4 : end], data[mask_at : mask_at + 4])
    return payload


def ping_frame(number: int) -> bytes:
    """Return a ping as a server sends it; its pong repeats the number. 0 sends none, for any sign of life will do."""
    return _NUMBERED_PING + number.to_bytes(_NUMBER_BYTES, "big") if number else _PING


def pong_in(data: bytes, at: int, end: int) -> int:
    """Return the number of the ping that the whole frame ``data[at:end]`` answers, or 0; -1 if it is no right pong."""
    # One without a mask, or of more than 125 bytes, is an error of the peer (RFC 6455 5.1, 5.5).
    if data[at] != _PONG or not _MASKED <= data[at + 1] < _MASKED | _LENGTH_16:
        return -1
    if data[at + 1] != _MASKED | _NUMBER_BYTES:
        return 0
    return int.from_bytes(unmasked(data, at + 2, end), "big")


def text_frame(payload: bytes) -> bytes:
    """Return a text frame as a server sends it, unmasked (RFC 6455 5.1)."""
    length = len(payload)
    if length < _LENGTH_16:
        return b"\x81%c%b" % (length, payload)
    if length < 0x10000:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)
