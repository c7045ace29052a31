"""The Envelope: one event on its way from a gateway to a worker. Pure. Format: architecture.md section 2."""

from dataclasses import dataclass
from typing import Final

from jambonz_shared.errors import BadFormat

_VERSION: Final = "1"
_SEPARATOR: Final = "\x1f"
_FIELDS: Final = 9

# One stream entry holds so many Envelopes at most: a worker reads whole entries, and must not choke on one.
ENTRY_EVENTS: Final = 64
ENTRY_BYTES: Final = 256 * 1024


@dataclass(init=False, slots=True)
class Envelope:
    """A small header and the untouched jambonz bytes.

    Attributes:
        call_sid: The Call the event belongs to.
        epoch: The Connection of that Call it came over.
        n: 1, 2, 3 ... within (call_sid, epoch), without holes.
        kind: jambonz's ``type``, or one of ours starting with ``cluster:``.
        msgid: What the ack must name; empty for kinds of our own.
        received_at_ms: Unix milliseconds on the gateway's clock; for humans and metrics only.
        gateway_id: Process that holds the websocket.
        is_acked: The gateway has already answered it (session:reconnect, session:adulting).
        body: The message as jambonz wrote it.
        deaths: Workers that died while this was the first undone event of its Call.
        is_quarantined: Its handler killed too many workers: it is acked, but not run again.
    """

    call_sid: str
    epoch: int
    n: int
    kind: str
    msgid: str
    received_at_ms: int
    gateway_id: str
    is_acked: bool
    body: bytes
    deaths: int = 0
    is_quarantined: bool = False

    def __init__(  # noqa: PLR0913, PLR0917 as its fields
        self,
        call_sid: str,
        epoch: int,
        n: int,
        kind: str,
        msgid: str,
        received_at_ms: int,
        gateway_id: str,
        is_acked: bool,
        body: bytes,
        deaths: int = 0,
        is_quarantined: bool = False,
    ) -> None:
        self.call_sid = call_sid
        self.epoch = epoch
        self.n = n
        self.kind = kind
        self.msgid = msgid
        self.received_at_ms = received_at_ms
        self.gateway_id = gateway_id
        self.is_acked = is_acked
        self.body = body
        self.deaths = deaths
        self.is_quarantined = is_quarantined

    def encode(self) -> bytes:
        """Return the bytes for a stream entry's field ``e``."""
        flags = "a" if self.is_acked else ""
        if self.deaths:
            flags += f"{'q' if self.is_quarantined else ''}{self.deaths}"
        header = (
            f"1\x1f{self.call_sid}\x1f{self.epoch}\x1f{self.n}\x1f{self.kind}\x1f{self.msgid}"
            f"\x1f{self.received_at_ms}\x1f{self.gateway_id}\x1f{flags}\n"
        )
        return header.encode() + self.body

    @staticmethod
    def decode(raw: bytes) -> "Envelope":
        """Return the Envelope in ``raw``.

        Raises:
            BadFormat: If it is not one of this version.
        """
        header, newline, body = raw.partition(b"\n")
        try:
            # As a whole: decoding field by field, and reading numbers in bytes, takes twice as long.
            parts = header.decode().split(_SEPARATOR)
        except UnicodeDecodeError as error:
            raise BadFormat(f"envelope header is not UTF-8: {error.reason}") from None
        if not newline or len(parts) != _FIELDS or parts[0] != _VERSION:
            raise BadFormat(f"expected an envelope of version 1, got {len(raw)} bytes with {len(parts)} header fields")
        _, call_sid, epoch, n, kind, msgid, received_at_ms, gateway_id, flags = parts
        try:
            envelope = Envelope(
                call_sid, int(epoch), int(n), kind, msgid, int(received_at_ms), gateway_id, flags.startswith("a"), body
            )
            if flags and flags != "a":
                envelope.deaths = int(flags.lstrip("aq") or "0")
                envelope.is_quarantined = "q" in flags
        except ValueError as error:
            raise BadFormat(f"envelope header has a bad field: {error}") from None
        return envelope


def notice(
    call_sid: str, kind: str, now_ms: int, *, msgid: str = "", gateway_id: str = "", body: bytes = b"{}"
) -> Envelope:
    """Return an Envelope of our own making, outside of the numbers of any epoch; ``now_ms`` is Unix time."""
    return Envelope(call_sid, 0, 0, kind, msgid, now_ms, gateway_id, is_acked=True, body=body)
