"""One websocket: bytes to messages for its Session, and the Session's effects to bytes."""

import asyncio
import time
from typing import Final, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol

from jambonz_gateway import core as cores
from jambonz_gateway.effects import Effect, ReadLog
from jambonz_gateway.frames import HEADER_BYTES, Unread, frame_length, ping_frame, pong_in, text_frame, text_of
from jambonz_gateway.handshake import Answer, Welcome
from jambonz_gateway.policy import NEVER
from jambonz_gateway.route import Known
from jambonz_gateway.session import Session
from jambonz_gateway.switchboard import Cut, Switchboard
from jambonz_gateway.upgrade import Asked, split_head, switching, usual_upgrade
from jambonz_gateway.wheel import in_company
from jambonz_shared.directive import ChannelMessage
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.scripts import Attached


# An asyncio.Protocol in all but name, since compiled classes that inherit from others are slow (ADR 0013).
class Connection:
    """A websocket under our own protocol: websockets' sans-I/O core, no task, one shared timer.

    Attributes:
        address: The peer's IP address, or what a trusted proxy has told instead.
        app_name: The app of its path; empty before the handshake.
        pace: How fast its messages may come.
        path: Path as requested; empty before the handshake.
        session: Set when the websocket opens.
        wakes_at_s: Owned by the Wheel.
    """

    __slots__ = (
        "_board", "_close_by_s", "_fragments", "_has_ended", "_heard_at_s", "_listens_at_s", "_loop", "_ping_at_s",
        "_request", "_transport", "_unread", "_ws", "address", "app_name", "pace", "path", "session", "wakes_at_s",
    )  # fmt: skip

    def __init__(self, board: Switchboard, loop: asyncio.AbstractEventLoop, address: str = "") -> None:
        self._board: Final = board
        self._loop: Final = loop
        self._ws: Protocol = cores.NOT_ASKED
        self._transport: asyncio.Transport | None = None
        # The core has not seen it.
        self._unread: Final = Unread()
        # What the core has read, until it is answered.
        self._request: Request | None = None
        self._fragments = bytearray()
        self._heard_at_s = loop.time()
        self.pace: Final = board.accounts.pace(self._heard_at_s)
        self._listens_at_s = NEVER
        self._has_ended = False
        self._ping_at_s = NEVER
        self._close_by_s = self._heard_at_s + cores.HANDSHAKE_LIMIT_S
        self.address = address
        self.app_name = ""
        self.path = ""
        self.session: Session | None = None
        self.wakes_at_s = NEVER

    # From the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake, but not for ever."""
        # uvloop's TCP transport has the interface, but not the base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=cores.WRITE_LIMIT_BYTES)
        self.address = self.address or transport.get_extra_info("peername", ("",))[0]
        self._board.wheel.ask(self, self._close_by_s)

    def data_received(self, data: bytes) -> None:
        """Take bytes from jambonz."""
        self._heard_at_s = self._loop.time()
        if self._unread.add(data) and self.session is not None:
            self._take()
        elif self.session is None and len(self._unread) <= cores.EARLY_LIMIT_BYTES:
            self._board.turns.wait(self)
        elif self.session is None:
            self.close(1009, "too much before the websocket is open")

    def arrive(self) -> None:
        """Take what has come, now that it is its turn."""
        if len(self._unread) and self.session is None and self._ws is cores.NOT_ASKED:
            self._take()
        if len(self._unread) and self.session is not None:
            self._take()

    def eof_received(self) -> bool:
        """Let the core see the end, then close. A peer that has not waited for its turn gets no answer."""
        if self.session is not None:
            self.arrive()
            if not self._ws.eof_sent:
                self._need_core().receive_eof()
                self._flush()
        self._unread.take()
        return False

    def connection_lost(self, _: Exception | None) -> None:
        """The socket is closed; a close frame of the peer tells the code, else it was lost."""
        self._board.wheel.forget(self)
        self._transport = None
        self._unread.take()
        self.pace.end(self._loop.time())
        # It holds the core, which holds it: the garbage collector, which comes seldom, would have to find them.
        self._ws.parser.close()
        if self.session is None:
            self._board.gone(self, None)
            return
        code, by_us = cores.end_of(self._ws)
        self._board.perform(self, self.session.closed(code, by_us=by_us))
        self._board.gone(self, code)

    def pause_writing(self) -> None:
        """The peer does not read: cut it, jambonz reconnects (PROTOCOL.md 1.4); nobody waits for it."""
        if self._transport is not None:
            self._board.cut(self, Cut.SLOW)
            self._transport.abort()

    def resume_writing(self) -> None:
        """Nothing to do: a Connection that was paused is being closed."""

    # From the switchboard.

    def welcome(self, welcome: Welcome, asked: Asked) -> int:
        """Open the websocket, unless the peer has gone meanwhile; return the HTTP status of the answer."""
        if self._transport is None:
            return 499
        if (status := self._accept(asked)) == 101:
            now_s = self._loop.time()
            self.app_name, self.path = welcome.app.name, welcome.path
            self._close_by_s = NEVER
            self._ping_at_s = in_company(now_s + self._board.ping_interval_s)
            self.session = self._board.opened(self, welcome)
            if early := self._unread.take():
                self._unread.keep(early, 0)
                self._board.turns.wait(self)
            self._board.wheel.ask(self, self._next_wake_s())
        return status

    def answer(self, answer: Answer) -> None:
        """Answer with plain HTTP and close."""
        if self._transport is not None:
            self._transport.write(answer.encode())
            self._transport.close()

    def send(self, frame: bytes) -> None:
        """Write one message."""
        # What the core writes goes out at once, so nothing of it can be behind.
        if self._transport is not None and (self._ws is cores.NOT_NEEDED or self._ws.state is State.OPEN):
            self._transport.write(text_frame(frame))

    def ping(self, number: int = 0) -> None:
        """Ask for a sign of life; with a number, for one that tells that all before it was read."""
        if self._transport is not None and (self._ws is cores.NOT_NEEDED or self._ws.state is State.OPEN):
            self._transport.write(ping_frame(number))

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        if self._ws.state is State.OPEN:
            self._need_core().send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._close_by_s = self._loop.time() + cores.CLOSE_LIMIT_S
            self._board.wheel.ask(self, self._close_by_s)
            self._flush()
            self._has_ended = self._transport is not None and cores.half_closed(self._transport)
        elif self._ws.state is State.CONNECTING and self._transport is not None:
            self._transport.abort()

    # From Redis, by way of the downlink and uplink.

    @property
    def has_left(self) -> bool:
        """True when the socket is closed."""
        return self._transport is None

    def attached(self, call_sid: str, attachment: Attached) -> None:
        """See ``Session.attached``."""
        if self.session:
            self._perform(self.session.attached(call_sid, attachment))

    def known(self, call_sid: str) -> Known:
        """See ``Session.known``."""
        return self.session.known(call_sid) if self.session else Known()

    def refused(self, call_sid: str) -> None:
        """See ``Session.refused``."""
        if self.session:
            self._perform(self.session.refused(call_sid))

    def channel(self, call_sid: str, message: ChannelMessage) -> None:
        """See ``Session.channel``."""
        if self.session:
            self._perform(self.session.channel(call_sid, message, self._loop.time()))

    def resubscribed(self, call_sid: str) -> None:
        """See ``Session.resubscribed``."""
        if self.session:
            self._perform(self.session.resubscribed(call_sid))

    def log_read(self, wanted: ReadLog, entries: list[tuple[int, bytes]]) -> None:
        """See ``Session.log_read``."""
        if self.session:
            self._perform(self.session.log_read(wanted, entries, self._loop.time()))

    def detached(self, call_sid: str, connections_left: int) -> None:
        """See ``Session.detached``."""
        if self.session:
            self._perform(self.session.detached(call_sid, connections_left, time.time_ns() // 1_000_000))

    def returned(self, worker_id: str, envelope: Envelope) -> None:
        """See ``Session.returned``."""
        if self.session:
            self._perform(self.session.returned(worker_id, envelope))

    def drain(self) -> None:
        """See ``Session.drain``."""
        if self.session:
            self._perform(self.session.drain(self._loop.time()))

    # From the wheel.

    def wake(self, now_s: float) -> float | None:
        """Do what is due: the Session's deadlines, a ping, the end of a handshake that takes too long."""
        if self._transport is None:
            return None
        if now_s >= self._close_by_s:
            self._transport.abort()
            return None
        if now_s >= self._listens_at_s:
            self._go_on()
        if now_s >= self._ping_at_s:
            self._ping(now_s)
        if self.session is not None and now_s >= self.session.wake_at_s:
            self._board.perform(self, self.session.tick(now_s))
        return self._next_wake_s()

    def _take(self) -> None:
        try:
            if self.session is None:
                self._asked(self._unread.take())
            else:
                self._frames(self._unread.take())
        except Exception as error:  # noqa: BLE001 one connection's fault must not reach another
            self._board.failed(self, error)
            self.close(1011, "internal error")

    def _frames(self, data: bytes) -> None:
        """Take the messages in ``data``; keep the frame that is not whole, and what must wait."""
        at, size, left = 0, len(data), cores.FRAMES_PER_TURN
        # What follows a close frame of the peer, or a frame that is too long, counts no more.
        while at < size and ((is_usual := self._ws is cores.NOT_NEEDED) or not self._ws.eof_sent):
            end = at + (length := frame_length(data, at))
            if length > self._board.max_event_bytes + HEADER_BYTES:
                self._to_core(data[at:])
                return
            if not length or end > size or not left or self._listens_at_s != NEVER:
                self._unread.keep(data[at:], end - size if length else 0)
                if not left and self._listens_at_s == NEVER and self._transport is not None:
                    self._transport.pause_reading()
                    self._loop.call_soon(self._go_on)
                return
            left -= 1
            # Within a fragmented message only the core knows what may come.
            message = text_of(data, at, end) if is_usual or self._ws.current_size is None else None
            if message is not None:
                self._message(message)
            else:
                self._slow_down(self.pace.take_frame(self._heard_at_s))
                if is_usual and cores.is_hang_up(data[at:end]):
                    self._hung_up()
                elif (number := pong_in(data, at, end)) < 0:
                    self._to_core(data[at:end])
                elif self.session is not None:
                    self._perform(self.session.pong(number, self._heard_at_s))
            at = end

    def _asked(self, data: bytes) -> None:
        """Take the first request of a peer, or something else; frames behind it wait until the websocket is open."""
        head, rest = split_head(data)
        # What comes behind the request is not looked at before the answer.
        self._unread.keep(rest, cores.EARLY_LIMIT_BYTES if head else 0)
        if not head:
            return
        if (asked := usual_upgrade(head)) is None:
            self._board.unusual(self, data)
            self._ws = cores.core_of_any(self._board.max_event_bytes)
            self._to_core(head)
        else:
            self._ws = cores.ASKED
            self._board.requested(self, asked)

    def _accept(self, asked: Asked) -> int:
        """Answer an upgrade; return the HTTP status."""
        assert self._transport is not None, "welcome asks"
        core = self._ws
        if not isinstance(core, ServerProtocol):
            self._ws = cores.NOT_NEEDED
            self._transport.write(switching(asked.accept_key))
            return 101
        request, self._request = self._request, None
        assert request is not None, "the core has read one"
        status = cores.accepted(core, request)
        self._flush()
        return status

    def _need_core(self) -> Protocol:
        self._ws = cores.own_core(self._ws, self._board.max_event_bytes)
        return self._ws

    def _hung_up(self) -> None:
        self._ws = cores.HUNG_UP
        if self._transport is not None:
            self._transport.write(cores.HANG_UP_ANSWER)
            self._transport.close()

    def _to_core(self, data: bytes) -> None:
        core = self._need_core()
        core.receive_data(data)
        for event in core.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._request = event
                self._board.requested(self, cores.asked_of(event))
        self._flush()

    def _frame(self, frame: Frame) -> None:
        if (message := cores.message_of(frame, self._fragments)) is not None:
            self._message(message)
        elif frame.opcode is Opcode.BINARY and self.session is not None:
            # jambonz sends text only (PROTOCOL.md 1.1). The rest of a fragmented one comes as CONT and is no JSON.
            self._board.perform(self, self.session.bad_frame("expected JSON text, got a binary message"))

    def _message(self, message: bytes) -> None:
        if self.session is None:
            return
        self._board.tally.events += 1
        self._slow_down(self.pace.take(message, self._heard_at_s))
        self._board.perform(self, self.session.receive(message, self._heard_at_s, time.time_ns() // 1_000_000))
        self._ask()

    def _slow_down(self, pause_s: float) -> None:
        """Leave a flood in the kernel's buffer: its call, or account, waits; nothing is lost, nobody else notices."""
        if pause_s:
            if self._listens_at_s == NEVER and self._transport is not None:
                self._board.throttled(self)
                self._transport.pause_reading()
            self._listens_at_s = self._heard_at_s + pause_s
            self._board.wheel.ask(self, self._listens_at_s)

    def _go_on(self) -> None:
        """Listen again, and take what has waited."""
        self._listens_at_s = NEVER
        if self._transport is not None:
            self._heard_at_s = self._loop.time()
            self._transport.resume_reading()
            if len(self._unread):
                self._take()

    def _perform(self, effects: list[Effect]) -> None:
        if effects:
            self._board.perform(self, effects)
            self._ask()

    def _flush(self) -> None:
        if (transport := self._transport) is None:
            self._ws.data_to_send()
            return
        for data in self._ws.data_to_send():
            if not data:
                transport.close()
            elif not self._has_ended:
                transport.write(data)

    def _ping(self, now_s: float) -> None:
        assert self._transport is not None, "wake asks"
        interval_s = self._board.ping_interval_s
        self._ping_at_s = in_company(self._heard_at_s + interval_s)
        if now_s < self._ping_at_s:
            return
        self._ping_at_s = in_company(now_s + interval_s)
        # Two pings without a sign of life: the socket is half-open (PROTOCOL.md section 12, liveness).
        if now_s - self._heard_at_s > 2 * interval_s + 1:
            self._board.cut(self, Cut.SILENT)
            self._transport.abort()
        else:
            self.ping()

    def _ask(self) -> None:
        if self._transport and self.session and (at_s := self.session.wake_at_s) < self.wakes_at_s:
            self._board.wheel.ask(self, at_s)

    def _next_wake_s(self) -> float:
        session_s = self.session.wake_at_s if self.session else NEVER
        return min(self._close_by_s, self._ping_at_s, self._listens_at_s, session_s)
