"""One websocket as jambonz opens it, for greenlets: blocking calls of websocket-client under gevent."""

import contextlib
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Final

import gevent
import websocket
from websocket import ABNF

from jambonz_simulator.core.effects import Failure, OpenSocket

SUBPROTOCOL: Final = "ws.jambonz.org"

# The `ws` library gives the other end 30 s for the closing handshake; a simulator has no time.
CLOSE_TIMEOUT_S: Final = 5.0

# What happened to a socket: a message, or the close code.
News = bytes | int


class OpenFailed(Exception):
    """The handshake did not succeed; ``failure`` tells why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(str(failure))


class GreenSocket:
    """An open websocket; ``pump`` reads it in a greenlet of its own, the other methods never wait long."""

    def __init__(self, raw: "websocket.WebSocket") -> None:
        self._raw = raw
        self._is_closing = False
        self._is_aborted = False

    @classmethod
    def open(cls, wanted: OpenSocket) -> "GreenSocket":
        """Return the socket once the handshake has succeeded.

        Raises:
            OpenFailed: If it has not, whatever the reason.
        """
        headers = ["User-Agent: jambonz"]
        if wanted.credentials is not None:
            headers.append("Authorization: Basic " + b64encode(":".join(wanted.credentials).encode()).decode())
        raw = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        try:
            with gevent.Timeout(wanted.within_s, TimeoutError("handshake")):
                raw.connect(
                    wanted.url,
                    header=headers,
                    subprotocols=[SUBPROTOCOL],
                    suppress_origin=True,
                    timeout=wanted.within_s,
                    http_no_proxy=["*"],
                )
        except (OSError, ValueError, OverflowError, websocket.WebSocketException) as error:
            # The last but one are of URLs to which a redirect led.
            raw.shutdown()
            raise OpenFailed(failure_of(error)) from None
        if raw.getsubprotocol() != SUBPROTOCOL:
            raw.shutdown()
            raise OpenFailed(Failure("no_subprotocol"))
        raw.settimeout(None)
        return cls(raw)

    def send_text(self, payload: bytes) -> None:
        """Send one text message; nothing if the socket is closing or gone (the pump tells)."""
        if not self._is_closing:
            with contextlib.suppress(OSError, websocket.WebSocketException):
                self._raw.send(payload, ABNF.OPCODE_TEXT)

    def close(self, code: int) -> None:
        """Send a close frame; the pump reports the end."""
        self._is_closing = True
        gevent.spawn_later(CLOSE_TIMEOUT_S, self._raw.shutdown)
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._raw.send(struct.pack("!H", code), ABNF.OPCODE_CLOSE)

    def abort(self) -> None:
        """Drop the TCP connection without a word."""
        self._is_aborted = True
        self._raw.shutdown()

    def pump(self, tell: Callable[[News], None]) -> None:
        """Tell every message, then the close code; return when the socket is gone."""
        code = 1006
        with contextlib.suppress(OSError, websocket.WebSocketException, ValueError):
            code = self._read(tell)
        self._raw.shutdown()
        if not self._is_aborted:
            tell(code)

    def _read(self, tell: Callable[[News], None]) -> int:
        pieces: list[bytes] = []
        while True:
            frame = self._raw.recv_frame()
            match frame.opcode:
                case ABNF.OPCODE_TEXT | ABNF.OPCODE_BINARY | ABNF.OPCODE_CONT:
                    pieces.append(frame.data)
                    if frame.fin:
                        tell(b"".join(pieces))
                        pieces.clear()
                case ABNF.OPCODE_PING:
                    self._raw.pong(frame.data)
                case ABNF.OPCODE_CLOSE:
                    code: int = struct.unpack("!H", frame.data[:2])[0] if len(frame.data) >= 2 else 1005
                    if not self._is_closing:
                        self.close(1000 if code == 1005 else code)
                    return code


def failure_of(error: BaseException) -> Failure:
    """Return how jambonz would call what went wrong in a handshake."""
    match error:
        case websocket.WebSocketBadStatusException():
            headers = error.resp_headers or {}
            return Failure("http", error.status_code, headers.get("connection", "").lower() != "close")
        case TimeoutError() | websocket.WebSocketTimeoutException():
            return Failure("handshake_timeout")
        case ConnectionRefusedError():
            return Failure("refused")
        case socket.gaierror() | websocket.WebSocketAddressException():
            return Failure("dns")
        case ssl.SSLError():
            return Failure("tls")
        case ValueError() | OverflowError():
            return Failure("invalid_url")
        case _:
            return Failure("reset")
