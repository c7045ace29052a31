"""The bytes jambonz would send, prepared once per call, and the frames it would get. No I/O."""

import uuid
from collections.abc import Iterator
from typing import Final

# jambonz names each message with a short uuid of up to 22 characters (PROTOCOL.md 2.1).
MSGID_BYTES: Final = 22
_MSGID: Final = b"%022d"
_OPEN: Final = b'{"type":"verb:hook","msgid":"'
TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
# A masked frame of 126 to 65,535 bytes: two bytes, two of length, four of mask (RFC 6455, 5.2).
_HEAD_BYTES: Final = 8

# What jambonz tells of a call with each hook (PROTOCOL.md 2.8), about 600 bytes.
_FACTS: Final = (
    '"direction":"inbound","from":"+14155550111","to":"+14155550100","call_id":"7f1c-22@10.1.0.7",'
    '"sbc_callid":"a81bc81b-dead","sip_status":200,"sip_reason":"OK","call_status":"in-progress",'
    '"account_sid":"9f7b1d52-0000-0000-0000-000000000000","trace_id":"80f198ee56343ba864fe8b2a57d3eff7",'
    '"application_sid":"41c0a9d7-0000-0000-0000-000000000000","fs_sip_address":"10.1.0.20:5060",'
    '"originating_sip_ip":"203.0.113.9"'
)

CLOSE_1000: Final = bytes((0x88, 0x82, 0, 0, 0, 0)) + (1000).to_bytes(2, "big")


def upgrade(host: str, path: str) -> bytes:
    """Return the handshake of a call."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ws.jambonz.org\r\nUser-Agent: jambonz\r\n\r\n"
    ).encode()


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a frame masked with zeros, so that the payload stays as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class CallFrames:
    """The messages of one call; the hook is patched in place, for building it anew costs more than sending it.

    Attributes:
        hook: The frame of the newest hook, a notice before it if there is to be one.
        msgid: Its msgid.
    """

    __slots__ = ("_at", "_count", "call_sid", "hook", "msgid")

    def __init__(self, *, has_notice: bool = False) -> None:
        """With ``has_notice`` a ``verb:status`` goes out before each hook, in the same write."""
        sid = self.call_sid = str(uuid.uuid4())
        hook = f'","call_sid":"{sid}","hook":"/bench","data":{{"call_sid":"{sid}",{_FACTS},"reason":"dtmfDetected"}}}}'
        frame = client_frame(_OPEN + _MSGID % 0 + hook.encode())
        notice = (
            f'{{"type":"verb:status","msgid":"{"n" * MSGID_BYTES}","call_sid":"{sid}","data":{{"call_sid":"{sid}",'
            f'"call_status":"in-progress","event":"finished","id":"1","name":"say"}}}}'
        )
        before = client_frame(notice.encode()) if has_notice else b""
        self.hook = bytearray(before + frame)
        self._at = len(before) + _HEAD_BYTES + len(_OPEN)
        self._count = 0
        self.msgid = b""

    def first(self, kind: str) -> bytes:
        """Return the first message of a websocket, ``session:new`` or ``session:reconnect``; it becomes the newest."""
        self._count += 1
        self.msgid = _MSGID % self._count
        sid = self.call_sid
        text = (
            f'{{"type":"{kind}","msgid":"{self.msgid.decode()}","call_sid":"{sid}","data":{{"sip":{{"headers":{{}},'
            f'"raw":"INVITE"}},"call_sid":"{sid}",{_FACTS}}}}}'
        )
        return client_frame(text.encode())

    def next_hook(self) -> bytearray:
        """Return the next hook under a new msgid."""
        self._count += 1
        self.msgid = self.hook[self._at : self._at + MSGID_BYTES] = _MSGID % self._count
        return self.hook


def server_frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield opcode, payload and the offset behind it of each whole, unmasked frame."""
    at, size = 0, len(data)
    while size - at >= 2:
        length, head = data[at + 1] & 0x7F, 2
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        end = at + head + length
        if size < at + head or size < end:
            return
        yield data[at] & 0x0F, data[at + head : end], end
        at = end
