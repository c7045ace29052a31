"""One application URL seen from jambonz: its sockets, reconnects, acks and queued messages. Pure.

The model of ``lib/utils/ws-requestor.js``; the quirks are those of PROTOCOL.md 1.2-1.4, 2.3, 2.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import orjson

from jambonz_simulator.core.acks import Acks, Reply, ReplyDead, ReplyNone
from jambonz_simulator.core.effects import AbortSocket, CloseSocket, Failure, OpenSocket, SendFrame
from jambonz_simulator.core.frames import (
    KINDS_WITH_HOOK,
    KINDS_WITHOUT_ACK,
    AckFrame,
    CommandFrame,
    InvalidFrame,
    as_text,
    is_utf8,
    parse,
)
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.keys import snake_case_keys
from jambonz_simulator.core.timing import MAX_FRAME_BYTES
from jambonz_simulator.core.urls import is_absolute_http, target_of
from jambonz_simulator.core.world import World


@dataclass(slots=True)
class Message:
    """A message on its way to the server; ``reply`` is settled when its fate is known."""

    kind: str
    hook: str | None
    data: dict[str, Any]
    b3: str | None
    reply: Promise[Reply]

    @property
    def wants_ack(self) -> bool:
        """True for hooks, false for notices."""
        return self.kind not in KINDS_WITHOUT_ACK


class Requestor:
    """The client side of one application URL over its successive sockets.

    Attributes:
        on_command: Takes the commands of the server; while it is ``None`` they are lost, as the
            call session does not exist yet (PROTOCOL.md 2.4).
        on_reconnect_error: Called when session:reconnect got no ack: the call is hung up.
        on_crash: Called when the server killed the feature server (pitfall 1).
        is_needed: False when a redirect verb has left it for another; nobody minds then if it is closed for good.
        is_left: A redirect verb has left it: it connects again only to tell a status (call-session.js, handover).
    """

    def __init__(self, world: World, url: str, credentials: tuple[str, str] | None) -> None:
        target = target_of(url)
        self.url = url
        self._target = target
        self._credentials = target.credentials or credentials
        self._world = world
        self._acks = Acks(world)
        self._call_sid: str | None = None
        self._saved_data: dict[str, Any] = {}
        self._connection: int | None = None
        self._closing: set[int] = set()
        self._connecting: tuple[int, Promise[Failure | None]] | None = None
        self._is_connecting = False
        self._opens = 0
        self._backoff_s = world.timing.first_backoff_s
        self._queue: list[Message] = []
        self._awaits_reconnect_ack = False
        self._is_deafened = False
        self.is_closed_gracefully = False
        self.is_needed = True
        self.is_left = False
        self.on_command: Callable[[int, CommandFrame], None] | None = None
        self.on_reconnect_error: Callable[[], None] = _nothing
        self.on_crash: Callable[[], None] = _nothing

    @property
    def connection(self) -> int | None:
        """Number of the open socket, ``None`` while there is none."""
        return self._connection

    @property
    def is_zombie(self) -> bool:
        """True while messages are queued for ever (PROTOCOL.md 2.6.3)."""
        return self._awaits_reconnect_ack and not self._acks.awaits("session:reconnect")

    @property
    def is_deaf(self) -> bool:
        """True once the server closed with 1000: all messages are discarded (PROTOCOL.md 1.3)."""
        return self._is_deafened

    @property
    def is_quiet(self) -> bool:
        """True when nothing is going on any more: nothing connects, closes or waits to be sent."""
        return not self._is_connecting and not self._closing

    def request(self, kind: str, hook: str | None, data: dict[str, Any], b3: str | None = None) -> Promise[Reply]:
        """Send a message, connecting first if need be; the promise tells what became of it."""
        message = Message(kind, hook, data, b3, Promise(self._world.kernel))
        self._submit(message)
        return message.reply

    def close(self, code: int = 1000) -> None:
        """Close for good: nothing is sent any more, all that waits for acks is forgotten."""
        self.is_closed_gracefully = True
        if self._connection is not None:
            self._close_socket(code)
        self._acks.forget_all()

    def drop(self, code: int) -> None:
        """Lose the open socket as if the network or the other end had done it with ``code``."""
        connection = self._connection
        if connection is None:
            return
        self._world.do(AbortSocket(connection))
        self.socket_closed(connection, code)

    # Inputs: what the shell tells about sockets.

    def owns(self, connection: int) -> bool:
        """True if the socket belongs to this requestor and is not done with."""
        return (
            connection == self._connection
            or connection in self._closing
            or (self._connecting is not None and self._connecting[0] == connection)
        )

    def sockets(self) -> list[int]:
        """Give the numbers of the sockets that are open or closing."""
        opened = [] if self._connection is None else [self._connection]
        return [*opened, *sorted(self._closing)]

    def socket_opened(self, connection: int) -> None:
        """Take a socket whose handshake has succeeded."""
        if self._connecting is None or self._connecting[0] != connection:
            return
        promise = self._connecting[1]
        self._connecting = None
        self._connection = connection
        self._is_connecting = False
        self._opens += 1
        self._world.ledger.sockets += 1
        if self._opens > 1:
            self.request("session:reconnect", None, {})
        promise.settle(None)

    def socket_failed(self, connection: int, failure: Failure) -> None:
        """Take note that a socket did not open."""
        if self._connecting is None or self._connecting[0] != connection:
            return
        (_, promise), self._connecting = self._connecting, None
        self._world.entry(connection, "jambonz", {"failed": str(failure)})
        self._world.ledger.failed_connects += 1
        promise.settle(failure)

    def socket_closed(self, connection: int, code: int) -> None:
        """Take note that an open socket is gone, closed by the server with ``code`` or lost."""
        if connection in self._closing:
            self._closing.discard(connection)
            return
        if connection != self._connection:
            return
        self._world.entry(connection, "server", {"close": code})
        self._connection = None
        if code == 1000:
            self.is_closed_gracefully = True
            self._is_deafened = self.is_needed
            if self.is_needed:
                self._world.anomaly(connection, "closed_1000", "the call is deaf from here (1.3)")
            return
        self._dropped()

    def frame_received(self, connection: int, payload: str | bytes) -> None:
        """Take a message of the server."""
        size_bytes = len(payload.encode() if isinstance(payload, str) else payload)
        if connection in self._closing:
            self._received_while_closing(connection, payload)
        elif connection != self._connection:
            return
        elif size_bytes > MAX_FRAME_BYTES:
            self._refuse(connection, 1009, "oversize", f"{size_bytes} bytes, over {MAX_FRAME_BYTES} (1.1)")
        else:
            self._read(connection, payload)

    def _refuse(self, connection: int, code: int, kind: str, detail: str) -> None:
        """Close as the websockets library does because of a frame that it refuses; jambonz takes it for a drop."""
        self._world.anomaly(connection, kind, f"{detail}: closed with {code}")
        self._close_socket(code)
        self._dropped()

    # Sending.

    def _submit(self, message: Message) -> None:
        if self.is_closed_gracefully:
            message.reply.settle(ReplyNone())
            return
        if message.hook is not None and is_absolute_http(message.hook):
            self._post(message.kind, message.hook)
            message.reply.settle(ReplyNone())
            return
        if message.kind == "session:new":
            self._call_sid = message.data["call_sid"]
        if message.kind == "session:reconnect":
            self._awaits_reconnect_ack = True
        if self._connection is not None:
            self._send_or_queue(message)
        elif self._is_connecting:
            self._queue.append(message)
        else:
            self._is_connecting = True
            self._world.kernel.spawn(self._connect_and_send(message))

    def _post(self, kind: str, url: str) -> None:
        """An absolute http hook is a webhook, which is not simulated: it answers nothing (1.6)."""
        self._world.entry(0, "jambonz", {"posts": kind, "to": url})
        if kind == "session:redirect":
            self.close()

    def _connect_and_send(self, message: Message) -> Steps[None]:
        """The first-connect loop, also run on demand while disconnected (PROTOCOL.md 1.2, 1.4)."""
        attempts = 1
        failure: Failure | None = yield self._connect()
        while failure is not None:
            if attempts > self._target.max_sockets or not self._target.retries(failure):
                self._is_connecting = False
                self._reject([message], ReplyDead("connect", str(failure)))
                return
            attempts += 1
            yield self._world.kernel.sleep(self._take_backoff_s())
            failure = yield self._connect()
        self._send_or_queue(message)

    def _connect(self) -> Promise[Failure | None]:
        connection = self._world.next_connection()
        promise: Promise[Failure | None] = Promise(self._world.kernel)
        self._connecting = (connection, promise)
        url = self._target.url
        self._world.do(OpenSocket(connection, url, self._credentials, self._world.timing.handshake_timeout_s))
        path = "/" + url.split("/", 3)[3] if url.count("/") > 2 else "/"
        opening = {"http": "GET", "path": path, "subprotocol": "ws.jambonz.org"}
        self._world.entry(connection, "jambonz", opening)
        return promise

    def _take_backoff_s(self) -> float:
        backoff_s = self._backoff_s
        self._backoff_s = self._world.timing.next_backoff_s(backoff_s)
        return backoff_s

    def _send_or_queue(self, message: Message) -> None:
        if self._awaits_reconnect_ack and message.kind != "session:reconnect":
            self._queue.append(message)
        else:
            # An input that opens a socket is digested before the next one can take it away.
            assert self._connection is not None
            self._send(self._connection, message)

    def _send(self, connection: int, message: Message) -> None:
        payload = snake_case_keys(message.data)
        if message.kind in ("session:new", "session:adulting"):
            self._saved_data = payload
        if message.kind == "session:reconnect":
            payload = self._saved_data
            self._world.ledger.reconnects += 1
        msgid = self._world.ids.msgid()
        frame = self._frame(message, msgid, payload)
        self._world.do(SendFrame(connection, orjson.dumps(frame)))
        self._world.entry(connection, "jambonz", frame)
        if not message.wants_ack:
            self._world.ledger.notice_msgids.add(msgid)
            message.reply.settle(ReplyNone())
            self._flush_queue()
        elif message.kind == "session:reconnect":
            self._send_reconnect(connection, message, msgid)
        else:
            self._acks.expect(connection, message.kind, message.hook, msgid, message.reply)
            self._flush_queue()

    def _frame(self, message: Message, msgid: str, payload: dict[str, Any]) -> dict[str, Any]:
        frame: dict[str, Any] = {"type": message.kind, "msgid": msgid}
        if self._call_sid is not None:
            frame["call_sid"] = self._call_sid
        if message.kind in KINDS_WITH_HOOK:
            frame["hook"] = message.hook
        frame["data"] = payload
        if message.b3 is not None:
            frame["b3"] = message.b3
        return frame

    def _send_reconnect(self, connection: int, message: Message, msgid: str) -> None:
        if self._acks.inherit_initial(connection, msgid):
            # The promise that would release the queue is never resolved on this path
            # (PROTOCOL.md 2.6.3): all later messages are queued for ever.
            return
        self._acks.expect(connection, message.kind, None, msgid, message.reply)
        message.reply.then(self._reconnect_answered)

    def _reconnect_answered(self, reply: Reply) -> None:
        self._awaits_reconnect_ack = False
        if isinstance(reply, ReplyDead):
            self._reject([], reply)
            self.on_reconnect_error()
            return
        self._flush_queue()

    def _reject(self, messages: list[Message], reply: ReplyDead) -> None:
        """Give up these messages and all that is queued."""
        queued, self._queue = self._queue, []
        for message in messages + queued:
            message.reply.settle(reply)

    def _flush_queue(self) -> None:
        """Send what was queued: ack-wanting ones now, others behind them (PROTOCOL.md 2.6.2)."""
        queued, self._queue = self._queue, []
        for message in queued:
            if message.wants_ack:
                self._submit(message)
            else:
                self._world.kernel.after(0.0, partial(self._submit, message))

    # Losing sockets.

    def _dropped(self) -> None:
        if self.is_left or not 0 < self._opens < self._target.max_sockets or self.is_closed_gracefully:
            return
        self._acks.abandon()
        self._world.kernel.after(self._take_backoff_s(), self._reconnect)

    def _reconnect(self) -> None:
        if self._connection is not None or self._is_connecting or self.is_closed_gracefully:
            return
        self._is_connecting = True
        self._connect().then(self._reconnected)

    def _reconnected(self, failure: Failure | None) -> None:
        if failure is None:
            return
        self._is_connecting = False
        if self.is_closed_gracefully:
            return
        if failure.kind != "http":
            self._world.kernel.after(self._take_backoff_s(), self._reconnect)
        elif failure.keeps_alive:
            # The handshake timer closes the idle connection later, and that is a `close` event.
            late_s = self._world.timing.handshake_timeout_s + self._take_backoff_s()
            self._world.kernel.after(late_s, self._reconnect)

    def _close_socket(self, code: int) -> None:
        connection = self._connection
        assert connection is not None
        self._connection = None
        self._closing.add(connection)
        self._world.do(CloseSocket(connection, code))
        self._world.entry(connection, "jambonz", {"close": code})

    # Receiving.

    def _received_while_closing(self, connection: int, payload: str | bytes) -> None:
        size_bytes = len(payload.encode() if isinstance(payload, str) else payload)
        if size_bytes <= MAX_FRAME_BYTES and is_utf8(payload):
            detail = f"{size_bytes} bytes after the close frame of jambonz, not read"
            self._world.anomaly(connection, "frame_after_close", detail)
            return
        detail = f"{size_bytes} bytes, oversize or no UTF-8, in the closing phase: process.exit(1) (pitfall 1)"
        self._world.anomaly(connection, "feature_server_crashed", detail)
        self.on_crash()

    def _read(self, connection: int, payload: str | bytes) -> None:
        frame, value = parse(payload)
        self._world.entry(connection, "server", value if isinstance(value, dict) else {"text": as_text(payload)})
        match frame:
            case AckFrame():
                self._acks.receive(connection, frame)
            case CommandFrame():
                self._command(connection, frame)
            case InvalidFrame() if not is_utf8(payload):
                self._refuse(connection, 1007, "invalid_utf8", "a text message that is no UTF-8")
            case InvalidFrame(details, content):
                self._world.anomaly(connection, "invalid_message", details)
                error = {"msg": "InvalidMessage", "details": details, "content": content}
                self.request("jambonz:error", None, error)
            case _:
                assert_never(frame)

    def _command(self, connection: int, frame: CommandFrame) -> None:
        if self.on_command is not None:
            self.on_command(connection, frame)
            return
        self._world.lost_command(connection, frame)


def _nothing() -> None:
    """Stand in for a callback that nobody has set."""
