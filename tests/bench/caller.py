"""All callers of a run, over epoll and bare sockets: what a load costs here must not be taken from the server.

asyncio would cost as much per event as the server that is measured. The usual ack, one whole frame of the size the last
one had, is known by its size and its msgid; everything else takes the long way.
"""

import json
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from tests.bench import frames
from tests.bench.frames import CallFrames

_READ_BYTES: Final = 8192
# So many handshakes at a time while calls are set up in peace; a storm has no such limit.
_OPENING_AT_A_TIME: Final = 64
_RESET: Final = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 s


class Caller(CallFrames):
    """One call and its socket.

    Attributes:
        due_s: When its newest message was due, 0 once that is acked.
        opened_at_s: When its socket began to connect; ``upgraded_s`` is how long the handshake took, ``acked_s`` how
            long until the first message was acked.
        rest: What has come of a frame that is not whole yet.
    """

    __slots__ = (
        "acked_s", "due_s", "is_open", "is_reconnecting", "opened_at_s", "receive", "rest", "send", "socket",
        "upgraded_s",
    )  # fmt: skip

    def __init__(self, *, has_notice: bool = False) -> None:
        super().__init__(has_notice=has_notice)
        self.is_reconnecting = False
        self.due_s = 0.0
        self.opened_at_s = self.upgraded_s = self.acked_s = 0.0
        self.rest = b""
        self.is_open = False
        self.socket = socket.socket()

    @property
    def is_connecting(self) -> bool:
        """Whether its socket is there, but is no websocket yet."""
        return not self.is_open and self.socket.fileno() >= 0

    def dial(self, address: tuple[str, int]) -> None:
        """Begin to connect with a new socket."""
        self.socket = made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send, self.receive = made.send, made.recv
        self.is_open, self.rest = False, b""
        self.opened_at_s = time.perf_counter()
        made.connect_ex(address)


class Crowd:
    """Callers that share an epoll set. ``turn`` moves all that have something to do.

    Attributes:
        on_ack: Told of each ack, with the time; a phase of a load sets it.
        on_end: Told of each socket that has ended after we closed it.
        on_lost: Told of each socket that has ended unasked, in place of counting it.
        acks: So many have come, the first one of each call among them.
        lost: Sockets that ended unasked.
        guarded: Hooks that got an ack without the two verbs, as from a gateway's deadline guard.
        strange: Messages nobody expected: a second ack, a command, something else.
    """

    def __init__(self, host: str, port: int, path: str, *, has_notices: bool = False) -> None:
        self.callers: list[Caller] = []
        self.on_ack: Callable[[Caller, float], object] = _nothing
        self.on_end: Callable[[Caller], object] = _nothing
        self.on_lost: Callable[[Caller], object] = self._count_lost
        self.lost = 0
        self.guarded = 0
        self.strange = 0
        self._has_notices = has_notices
        self._address = (host, port)
        self._upgrade = frames.upgrade(f"{host}:{port}", path)
        # Made before all sockets: select() takes no number above 1023.
        self._epoll = select.epoll()
        self._by_fd: dict[int, Caller] = {}
        self._closing: set[Caller] = set()
        self._ack_bytes = 0

    def turn(self, wait_s: float) -> None:
        """Wait for bytes, for so long at most, and deal with all that have come."""
        # epoll counts in milliseconds, select in microseconds; at 15,000 hooks a second that matters.
        if 0 < wait_s < 0.05:
            select.select((self._epoll,), (), (), wait_s)
            wait_s = 0
        now, ack_bytes, by_fd, on_ack = time.perf_counter, self._ack_bytes, self._by_fd, self.on_ack
        for fd, _ in self._epoll.poll(wait_s, 512):
            caller = by_fd.get(fd)
            if caller is None:
                continue
            try:
                if not caller.is_open:
                    self._opening(caller)
                    continue
                data = caller.receive(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if len(data) == ack_bytes and caller.msgid in data and caller.due_s and not caller.rest:
                on_ack(caller, now())
            else:
                self._read(caller, data)

    def hook(self, caller: Caller, due_s: float) -> None:
        """Send the next hook, which is or was due then."""
        caller.due_s = due_s
        try:
            caller.send(caller.next_hook())
        except OSError:
            self._ended(caller)

    def open(self, count: int, *, limit_s: float) -> None:
        """Add so many calls, some at a time, and return when the ``session:new`` of each has been acked."""
        made = [Caller(has_notice=self._has_notices) for _ in range(count)]
        self.callers += made
        waiting = iter(made)
        left = count

        def acked(caller: Caller, now_s: float) -> None:
            nonlocal left
            left -= 1
            caller.due_s = 0.0
            if following := next(waiting, None):
                self._dial(following)

        self.on_ack = acked
        until_s = time.perf_counter() + limit_s
        for _, caller in zip(range(_OPENING_AT_A_TIME), waiting, strict=False):
            self._dial(caller)
        while left:
            self.turn(0.05)
            if time.perf_counter() > until_s or self.lost:
                raise SystemExit(f"{left} of {count} calls were not set up within {limit_s:g} s, {self.lost} were lost")

    def reconnect(self, caller: Caller) -> None:
        """Begin to connect a call anew; its first message will be ``session:reconnect``."""
        caller.is_reconnecting, caller.due_s = True, 0.0
        self._dial(caller)

    def open_one(self) -> None:
        """Begin one more call; ``on_ack`` is told of its first ack, too."""
        caller = Caller(has_notice=self._has_notices)
        self.callers.append(caller)
        self._dial(caller)

    def hang_up(self, caller: Caller) -> None:
        """Close as jambonz does at the end of a call; ``on_end`` follows."""
        self._closing.add(caller)
        try:
            caller.send(frames.CLOSE_1000)
        except OSError:
            self._ended(caller)

    def cut(self, callers: Iterable[Caller]) -> None:
        """Break the sockets without a word, as a network does."""
        for caller in callers:
            self._forget(caller)
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            caller.socket.close()

    def settle(self, *, limit_s: float) -> int:
        """Wait for the acks that are owed and return how many did not come."""
        self.on_ack = _acked
        until_s = time.perf_counter() + limit_s
        while (owed := sum(caller.due_s > 0 for caller in self.callers)) and time.perf_counter() < until_s:
            self.turn(0.05)
        return owed

    def close(self) -> None:
        """Hang up everything and wait a little for the other side."""
        for caller in [caller for caller in self.callers if caller.is_open and caller not in self._closing]:
            self.hang_up(caller)
        until_s = time.perf_counter() + 5.0
        while self._by_fd and time.perf_counter() < until_s:
            self.turn(0.05)
        self.cut(list(self._by_fd.values()))

    def _dial(self, caller: Caller) -> None:
        caller.dial(self._address)
        self._by_fd[caller.socket.fileno()] = caller
        self._epoll.register(caller.socket.fileno(), select.EPOLLOUT)

    def _opening(self, caller: Caller) -> None:
        if not caller.due_s:
            caller.due_s = caller.opened_at_s
            if caller.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._ended(caller)
                return
            caller.send(self._upgrade)
            self._epoll.modify(caller.socket.fileno(), select.EPOLLIN)
            return
        data = caller.receive(_READ_BYTES)
        caller.rest += data
        end = caller.rest.find(b"\r\n\r\n")
        if end < 0:
            if not data:
                self._ended(caller)
            return
        if not caller.rest.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"the server answered {caller.rest[:200]!r}")
        caller.rest, data = b"", caller.rest[end + 4 :]
        caller.is_open = True
        caller.upgraded_s = time.perf_counter() - caller.opened_at_s
        caller.send(caller.first("session:reconnect" if caller.is_reconnecting else "session:new"))
        if data:
            self._read(caller, data)

    def _read(self, caller: Caller, data: bytes) -> None:
        if not data:
            self._ended(caller)
            return
        whole = caller.rest + data
        caller.rest = b""
        used = 0
        for opcode, payload, end in frames.server_frames(whole):
            size, used = end - used, end
            if opcode == frames.TEXT:
                self._message(caller, payload, size)
            elif opcode == frames.PING:
                caller.send(frames.client_frame(payload, frames.PONG))
        caller.rest = whole[used:]

    def _message(self, caller: Caller, payload: bytes, size: int) -> None:
        message = json.loads(payload)
        if not caller.due_s or not is_ack(message, caller.msgid):
            self.strange += 1
            return
        # What the ack of a session:reconnect carries is ignored by jambonz (PROTOCOL.md 2.6.2).
        if has_both_verbs(message):
            self._ack_bytes = size
        elif not caller.is_reconnecting:
            self.guarded += 1
        self.on_ack(caller, time.perf_counter())

    def _ended(self, caller: Caller) -> None:
        self._forget(caller)
        caller.socket.close()
        if caller in self._closing:
            self._closing.discard(caller)
            self.on_end(caller)
        else:
            self.on_lost(caller)

    def _count_lost(self, caller: Caller) -> None:
        caller.due_s = 0.0
        self.lost += 1

    def _forget(self, caller: Caller) -> None:
        caller.is_open = False
        if self._by_fd.pop(caller.socket.fileno(), None):
            self._epoll.unregister(caller.socket.fileno())


def is_ack(message: dict[str, object], msgid: bytes) -> bool:
    """Tell whether a message acks this hook."""
    return message.get("type") == "ack" and message.get("msgid") == msgid.decode()


def has_both_verbs(message: dict[str, object]) -> bool:
    """Tell whether an ack carries the two verbs of the benchmark's application."""
    verbs = message.get("data")
    return isinstance(verbs, list) and [verb.get("verb") for verb in verbs] == ["say", "gather"]


def _acked(caller: Caller, now_s: float) -> None:
    caller.due_s = 0.0


def _nothing(*_: object) -> None:
    pass
