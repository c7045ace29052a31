"""One websocket as jambonz opens it: `websockets`' sans-I/O client under an `asyncio.Protocol`.

Written so that every byte counts: frames go out in the order of the calls, without a task switch;
an abort is an abort, a close reports the other end's code; no size limit, no pings, no compression
(the server may not need any of it, the core of the simulator judges sizes).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Final, Protocol, cast
from urllib.parse import urljoin, urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.headers import build_authorization_basic
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from jambonz_simulator.core.effects import Failure
from jambonz_simulator.core.urls import target_of

SUBPROTOCOL: Final = "ws.jambonz.org"

# The `ws` library gives the other end 30 s for the closing handshake; a simulator has no time.
CLOSE_TIMEOUT_S: Final = 5.0
MAX_REDIRECTS: Final = 2


class Listener(Protocol):
    """Who is told about a socket; each call is synchronous."""

    def frames_received(self, connection: int, payloads: Sequence[bytes]) -> None:
        """Whole messages came in one read."""

    def socket_closed(self, connection: int, code: int) -> None:
        """The socket is gone; called exactly once for every socket that was open."""


class OpenFailed(Exception):
    """The handshake did not succeed; ``failure`` tells why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(f"websocket not opened: {failure}")


class _Redirected(Exception):
    def __init__(self, location: str) -> None:
        self.location = location
        super().__init__(location)


class Socket(asyncio.Protocol):
    """One websocket to the server under test."""

    def __init__(self, connection: int, url: str, credentials: tuple[str, str] | None, listener: Listener) -> None:
        self.connection = connection
        self._listener = listener
        self._websocket = ClientProtocol(parse_uri(url), subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=None)
        self._credentials = credentials
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A server may reset before `wait_open` is reached: then nobody asks for the exception.
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._is_binary = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._is_aborted = False
        self._is_released = False
        self._early: list[list[bytes] | int] = []

    async def wait_open(self) -> None:
        """Return once the handshake has succeeded.

        Raises:
            OpenFailed: If it has not, whatever the reason.
        """
        await self._opened

    def release(self) -> None:
        """Tell the listener from now on, and what came before; call once when it is prepared."""
        self._is_released = True
        for news in self._early:
            self._tell(news)
        self._early.clear()

    def send_text(self, payload: bytes) -> None:
        """Prepare one text message for `flush`; nothing if the socket is closing."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_text(payload)

    def close(self, code: int) -> None:
        """Send a close frame; the end is reported when the other side has answered."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code)
            self.flush()

    def abort(self) -> None:
        """Drop the TCP connection without a word and without a report to the listener."""
        self._is_aborted = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP (and TLS) stands: send the upgrade request."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        request = self._websocket.connect()
        request.headers["User-Agent"] = "jambonz"
        if self._credentials is not None:
            request.headers["Authorization"] = build_authorization_basic(*self._credentials)
        self._websocket.send_request(request)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Digest bytes of the server."""
        self._websocket.receive_data(data)
        self._digest()

    def eof_received(self) -> None:
        """The server half-closed."""
        self._websocket.receive_eof()
        self._digest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason is all one
        """TCP is gone, whatever the reason."""
        with contextlib.suppress(EOFError, AssertionError):
            self._websocket.receive_eof()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._opened.done():
            self._tell(1006 if self._is_aborted else self._websocket.close_code or 1006)
        else:
            self._fail(Failure("reset"))

    # Inner life.

    def _digest(self) -> None:
        messages: list[bytes] = []
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self._take_response(event)
            elif isinstance(event, Frame):
                messages += self._message_in(event)
        if messages:
            self._tell(messages)
        self.flush()

    def _take_response(self, response: Response) -> None:
        error = self._websocket.handshake_exc
        location = response.headers.get("Location")
        if error is None and self._websocket.subprotocol == SUBPROTOCOL:
            if not self._opened.done():
                self._opened.set_result(None)
        elif response.status_code // 100 == 3 and location is not None:
            self._set_exception(_Redirected(location))
        elif isinstance(error, InvalidStatus):
            keeps_alive = response.headers.get("Connection", "").lower() != "close"
            self._fail(Failure("http", response.status_code, keeps_alive))
        else:
            self._fail(Failure("no_subprotocol"))
            self.abort()

    def _message_in(self, frame: Frame) -> list[bytes]:
        """Return the message that ends with this frame, if one does."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._pieces = [frame.data]
            self._is_binary = frame.opcode is Opcode.BINARY
        elif frame.opcode is Opcode.CONT:
            self._pieces.append(frame.data)
        else:
            return []
        if not frame.fin:
            return []
        payload = bytes(self._pieces[0]) if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        # The core takes each for text, whose bytes `ws` looks at; those of a binary one jambonz makes text of.
        return [payload.decode("utf-8", "replace").encode() if self._is_binary else payload]

    def _tell(self, news: list[bytes] | int) -> None:
        """Pass on messages, or the close code."""
        if not self._is_released:
            self._early.append(news)
        elif isinstance(news, int):
            self._listener.socket_closed(self.connection, news)
        else:
            self._listener.frames_received(self.connection, news)

    def flush(self) -> None:
        """Write what was prepared, at once and in order."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        pieces = self._websocket.data_to_send()
        if any(pieces):
            transport.write(b"".join(pieces))
        if pieces and not pieces[-1]:
            # The sans-I/O layer asks for a half-close; behind TLS that is a full one.
            transport.close()
        if self._websocket.close_expected() and self._close_timer is None:
            # Whoever closes first, and be it because of a broken frame: the other end has its time and no more.
            self._close_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.abort)
        if self._websocket.close_expected() and self._websocket.state is State.CLOSED:
            transport.close()

    def _fail(self, failure: Failure) -> None:
        self._set_exception(OpenFailed(failure))

    def _set_exception(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)


async def open_socket(
    connection: int, url: str, credentials: tuple[str, str] | None, within_s: float, listener: Listener
) -> Socket:
    """Open a websocket as jambonz does; up to two redirects are followed (PROTOCOL.md 1.1).

    Cancellation aborts the attempt.

    Raises:
        OpenFailed: If it did not open within the time, or was refused.
    """
    try:
        async with asyncio.timeout(within_s):
            for _ in range(MAX_REDIRECTS):
                try:
                    return await _open_once(connection, url, credentials, listener)
                except _Redirected as redirected:
                    target = urljoin(url, redirected.location)
                    # Basic auth is dropped when the host changes (PROTOCOL.md 1.1).
                    if urlsplit(target).netloc != urlsplit(url).netloc:
                        credentials = None
                    url = target.replace("http", "ws", 1) if target.startswith("http") else target
            return await _open_once(connection, url, credentials, listener)
    except TimeoutError:
        raise OpenFailed(Failure("handshake_timeout")) from None
    except _Redirected:
        raise OpenFailed(Failure("http", 302)) from None
    except ValueError:
        # A redirect led to it: `ws` refuses such a URL with an error that is not retried.
        raise OpenFailed(Failure("invalid_url")) from None


async def _open_once(connection: int, url: str, credentials: tuple[str, str] | None, listener: Listener) -> Socket:
    target_of(url)
    parts = urlsplit(url)
    is_secure = parts.scheme == "wss"
    port = parts.port or (443 if is_secure else 80)
    tls = ssl.create_default_context() if is_secure else None
    made = Socket(connection, url, credentials, listener)
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: made, parts.hostname or "", port, ssl=tls)
    except ConnectionRefusedError:
        raise OpenFailed(Failure("refused")) from None
    except socket.gaierror:
        raise OpenFailed(Failure("dns")) from None
    except ssl.SSLError:
        raise OpenFailed(Failure("tls")) from None
    except ConnectionError:
        # Also a server that ends the TLS handshake without a word: ECONNRESET in Node.
        raise OpenFailed(Failure("reset")) from None
    except OSError:
        raise OpenFailed(Failure("connect_timeout")) from None
    try:
        await made.wait_open()
    except BaseException:
        made.abort()
        raise
    return made
