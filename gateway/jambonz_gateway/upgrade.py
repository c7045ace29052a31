"""The usual handshake, without ceremony: one whole, plain upgrade request is all that jambonz sends. Pure.

websockets' sans-I/O core takes every other request, and finds the errors in them; the usual one takes a shorter way
beside it, which costs a fifth (docs/benchmarks).
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from jambonz_shared.wire import SUBPROTOCOL

# RFC 9110 5.1, 5.5: a name is a token, a value is printable text. No text matches in two ways, so this takes one pass.
_REQUEST: Final = re.compile(
    rb"GET (/[!-~]*+) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++)\r\n"
)  # fmt: skip
# jambonz sends some 400 bytes; the core knows what to answer to one that is too long.
_LONGEST_BYTES: Final = 8192
# As the core (websockets.http11.MAX_NUM_HEADERS).
_HEADERS_MAX: Final = 128
# Twice the longest line that the core takes.
_HEAD_LIMIT_BYTES: Final = 16_384
_KEY_BYTES: Final = 16
# RFC 6455 4.2.2.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# A request with a body is none of ours.
_BODIES: Final = frozenset({"content-length", "transfer-encoding", "expect"})


@dataclass(init=False, slots=True)
class Asked:
    """An HTTP request on the websocket port.

    Attributes:
        method: Such as ``GET``.
        target: Path and query.
        headers: By names in lower case; one that came several times is one list (RFC 9110 5.3).
        accept_key: What answers the usual upgrade, for ``switching``; empty for any other request.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    accept_key: str = ""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], accept_key: str = "") -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.accept_key = accept_key


def split_head(data: bytes) -> tuple[bytes, bytes]:
    """Return a request and what came behind it; no request if more of it has to come.

    One that does not end within its limit counts as whole: the core knows what to answer.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return (head + end, rest) if end or len(data) > _HEAD_LIMIT_BYTES else (b"", data)


def usual_upgrade(data: bytes) -> Asked | None:
    """Return the request if ``data`` is one whole, faultless upgrade to our subprotocol and nothing behind it."""
    request = _REQUEST.fullmatch(data) if len(data) <= _LONGEST_BYTES else None
    if request is None:
        return None
    headers, lines = {}, request[2].decode("ascii").split("\r\n")[:-1]
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    if (
        len(headers) != len(lines)
        or len(lines) > _HEADERS_MAX
        or headers.get("upgrade", "").lower() != "websocket"
        or headers.get("connection", "").lower() != "upgrade"
        or headers.get("sec-websocket-version") != "13"
        or headers.get("sec-websocket-protocol") != SUBPROTOCOL
        or not _BODIES.isdisjoint(headers)
    ):
        return None
    key = headers.get("sec-websocket-key", "").encode()
    try:
        if len(a2b_base64(key, strict_mode=True)) != _KEY_BYTES:
            return None
    except Base64Error:
        return None
    accept_key = b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False).decode()
    return Asked("GET", request[1].decode("ascii"), headers, accept_key)


def switching(accept_key: str) -> bytes:
    """Return the answer to the usual upgrade."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n"
    ) % (accept_key.encode(), SUBPROTOCOL.encode())
