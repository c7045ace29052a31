"""Directives, their batches and the messages of the call channel. Pure. Format: architecture.md sections 3 and 4."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from jambonz_shared.errors import BadFormat

_VERSION: Final = "1"
_SEPARATOR: Final = "\x1f"
_FIELDS: Final = 7
# Of a length or a seq, which is at least the time in ms once Redis has lost data: further ones are no number of ours.
_DIGITS_MAX: Final = 20
NEWEST: Final = 0
"""Epoch of a Directive that is for the newest Connection, whichever that is."""


@dataclass(init=False, slots=True)
class Ack:
    """The answer to one Hook.

    Attributes:
        id: Unique among the Directives of the Call.
        epoch: Epoch of the Hook's Envelope.
        msgid: The Hook.
        data: JSON array of verbs; empty for an ack without data.
        may_redirect: If it comes too late, its verbs still make sense as a ``redirect`` command.
        reply_to: Process that wants the Outcome, or empty.
    """

    id: str
    epoch: int
    msgid: str
    data: bytes
    may_redirect: bool = True
    reply_to: str = ""

    def __init__(
        self,
        id: str,  # noqa: A002 as the field
        epoch: int,
        msgid: str,
        data: bytes,
        may_redirect: bool = True,
        reply_to: str = "",
    ) -> None:
        self.id = id
        self.epoch = epoch
        self.msgid = msgid
        self.data = data
        self.may_redirect = may_redirect
        self.reply_to = reply_to


@dataclass(init=False, slots=True)
class Command:
    """An unasked instruction; ``frame`` is the complete message for jambonz."""

    id: str
    frame: bytes
    reply_to: str = ""

    def __init__(self, id: str, frame: bytes, reply_to: str = "") -> None:  # noqa: A002 as the field
        self.id = id
        self.frame = frame
        self.reply_to = reply_to


@dataclass(frozen=True, slots=True)
class Close:
    """Close the call's newest websocket with ``code``."""

    id: str
    code: int
    reply_to: str = ""


Directive = Ack | Command | Close


def encode(directive: Directive) -> bytes:
    """Return one Directive as bytes."""
    match directive:
        case Ack() as ack:
            flags = "r" if ack.may_redirect else ""
            return _head("A", ack.id, ack.epoch, ack.msgid, flags, ack.reply_to) + ack.data
        case Command() as command:
            return _head("C", command.id, NEWEST, "", "", command.reply_to) + command.frame
        case Close() as close:
            return _head("X", close.id, NEWEST, str(close.code), "", close.reply_to)
        case _:
            assert_never(directive)


def _head(op: str, id: str, epoch: int, ref: str, flags: str, reply_to: str) -> bytes:  # noqa: A002 as the field
    return f"1\x1f{op}\x1f{id}\x1f{epoch}\x1f{ref}\x1f{flags}\x1f{reply_to}\n".encode()


def decode(raw: bytes) -> Directive:
    """Return the Directive in ``raw``.

    Raises:
        BadFormat: If it is not one of this version.
    """
    header, newline, body = raw.partition(b"\n")
    try:
        # As a whole, see Envelope.decode.
        parts = header.decode().split(_SEPARATOR)
    except UnicodeDecodeError as error:
        raise BadFormat(f"directive header is not UTF-8: {error.reason}") from None
    if not newline or len(parts) != _FIELDS or parts[0] != _VERSION:
        raise BadFormat(f"expected a directive of version 1, got {len(raw)} bytes with {len(parts)} header fields")
    _, op, directive_id, epoch, ref, flags, reply_to = parts
    try:
        match op:
            case "A":
                return Ack(directive_id, int(epoch), ref, body, flags == "r", reply_to)
            case "C":
                return Command(directive_id, body, reply_to)
            case "X":
                return Close(directive_id, int(ref), reply_to)
    except ValueError as error:
        raise BadFormat(f"directive header has a bad field: {error}") from None
    raise BadFormat(f"expected op 'A', 'C' or 'X', got {op!r}")


def encode_batch(directives: Iterable[Directive]) -> bytes:
    """Return the Directives of one commit as netstrings, in order."""
    return b"".join([_netstring(encode(directive)) for directive in directives])


def _netstring(raw: bytes) -> bytes:
    return b"%d:%b" % (len(raw), raw)


def decode_batch(raw: bytes) -> list[Directive]:
    """Return the Directives of a batch, in order.

    Raises:
        BadFormat: If the netstrings or a Directive in them are broken.
    """
    directives: list[Directive] = []
    at = 0
    while at < len(raw):
        length, colon = _number(raw, at)
        if colon == at or raw[colon : colon + 1] != b":":
            raise BadFormat(f"expected a length and a colon at byte {at} of a batch of {len(raw)} bytes")
        end = colon + 1 + length
        if end > len(raw):
            raise BadFormat(f"batch of {len(raw)} bytes ends inside a directive that ends at byte {end}")
        directives.append(decode(raw[colon + 1 : end]))
        at = end
    return directives


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and where it ends: no further if there is none."""
    number, limit = 0, min(len(raw), at + _DIGITS_MAX)
    # Digit by digit, which is compiled to a tenth of what it takes to cut them out for int().
    while at < limit and 0x30 <= (digit := raw[at]) <= 0x39:
        number = 10 * number + digit - 0x30
        at += 1
    return number, at


@dataclass(init=False, slots=True)
class BatchSent:
    """A batch was committed; ``raw`` is decoded by ``decode_batch``."""

    seq: int
    raw: bytes

    def __init__(self, seq: int, raw: bytes) -> None:
        self.seq = seq
        self.raw = raw


@dataclass(init=False, slots=True)
class OwnerChanged:
    """``worker_id`` owns the Call now; empty: nobody."""

    fence: int
    worker_id: str

    def __init__(self, fence: int, worker_id: str) -> None:
        self.fence = fence
        self.worker_id = worker_id


@dataclass(init=False, slots=True)
class ConnectionAttached:
    """A newer Connection of the Call exists."""

    epoch: int
    line: str

    def __init__(self, epoch: int, line: str) -> None:
        self.epoch = epoch
        self.line = line


@dataclass(frozen=True, slots=True)
class ConnectionLeft:
    """The Connection with this epoch is gone."""

    epoch: int


@dataclass(frozen=True, slots=True)
class AppChanged:
    """The Call belongs to this app from now on."""

    app: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The Call is over and its keys are deleted."""


ChannelMessage = BatchSent | OwnerChanged | ConnectionAttached | ConnectionLeft | AppChanged | CallEnded


def decode_channel_message(raw: bytes) -> ChannelMessage:
    """Return what a message on a call channel says.

    Raises:
        BadFormat: If its first byte or its fields are not of architecture.md section 4.
    """
    kind = raw[:1]
    try:
        match kind:
            case b"D":
                seq, end = _number(raw, 1)
                if end == 1 or raw[end : end + 1] != b"\n":
                    raise ValueError("expected a number and a line feed")
                return BatchSent(seq, raw[end + 1 :])
            case b"O":
                fence, _, worker_id = raw[1:].decode().partition(_SEPARATOR)
                return OwnerChanged(int(fence), worker_id)
            case b"N":
                epoch, _, line = raw[1:].decode().partition(_SEPARATOR)
                return ConnectionAttached(int(epoch), line)
            case b"L":
                return ConnectionLeft(int(raw[1:]))
            case b"A":
                return AppChanged(raw[1:].decode())
            case b"E":
                return CallEnded()
    except ValueError as error:
        raise BadFormat(f"channel message {kind!r} has a bad field: {error}") from None
    raise BadFormat(f"expected a channel message D, O, N, L, A or E, got {kind!r}")
