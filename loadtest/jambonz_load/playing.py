"""Plays one simulated call on gevent: the simulator's state machine, fed and obeyed by a greenlet."""

import contextlib
from functools import partial
from time import monotonic
from typing import Final

import gevent
from gevent.queue import Empty, Queue

from jambonz_load.sockets import GreenSocket, News, OpenFailed
from jambonz_simulator.core.call import Pace, SimulatedCall
from jambonz_simulator.core.effects import AbortSocket, CloseSocket, Effect, EndCall, Failure, OpenSocket, SendFrame
from jambonz_simulator.core.records import CallResult
from jambonz_simulator.core.script import Script
from jambonz_simulator.random_ids import RandomIds

# How long a server may take to close what jambonz never closes.
LINGER_S: Final = 10.0

Input = tuple[int, GreenSocket | Failure | News]


def play_call(url: str, script: Script, speed: float = 1.0) -> CallResult:
    """Play a whole call and return its result; what the server does wrong is told by the result, never raised."""
    call = _Playing(SimulatedCall(url, script, RandomIds(), pace=Pace(speed=speed, keeps_entries=False)))
    try:
        return call.play()
    finally:
        call.leave()


class _Playing:
    def __init__(self, core: SimulatedCall) -> None:
        self._core = core
        self._sockets: dict[int, GreenSocket] = {}
        self._inputs: Queue[Input] = Queue()
        self._greenlets: list[gevent.Greenlet[[], None]] = []

    def play(self) -> CallResult:
        self._carry_out(self._core.start(monotonic()))
        while self._core.result is None:
            self._step(self._core.wakes_at_s)
        result = self._core.result
        give_up_at_s = monotonic() + LINGER_S
        while self._sockets and monotonic() < give_up_at_s:
            self._step(give_up_at_s)
        return result.left_unreaped() if self._sockets else result

    def leave(self) -> None:
        for one in self._sockets.values():
            one.abort()
        gevent.killall(self._greenlets, block=False)

    def _step(self, wakes_at_s: float | None) -> None:
        """Wait for the next input, or until it is time, and carry out what follows."""
        limit_s = None if wakes_at_s is None else max(0.0, wakes_at_s - monotonic())
        try:
            connection, news = self._inputs.get(timeout=limit_s)
        except Empty:
            self._carry_out(self._core.tick(monotonic()))
            return
        now_s = monotonic()
        match news:
            case GreenSocket():
                self._sockets[connection] = news
                self._greenlets.append(gevent.spawn(news.pump, partial(self._tell, connection)))
                self._carry_out(self._core.socket_opened(connection, now_s))
            case Failure():
                self._carry_out(self._core.socket_failed(connection, news, now_s))
            case bytes():
                self._carry_out(self._core.frames_received(connection, (news,), now_s))
            case int():
                self._sockets.pop(connection, None)
                self._carry_out(self._core.socket_closed(connection, news, now_s))

    def _tell(self, connection: int, news: News) -> None:
        self._inputs.put((connection, news))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendFrame(connection, payload):
                    if connection in self._sockets:
                        self._sockets[connection].send_text(payload)
                case OpenSocket():
                    self._greenlets.append(gevent.spawn(self._open, effect))
                case CloseSocket(connection, code):
                    if connection in self._sockets:
                        self._sockets[connection].close(code)
                case AbortSocket(connection):
                    with contextlib.suppress(KeyError):
                        self._sockets.pop(connection).abort()
                case EndCall():
                    pass

    def _open(self, effect: OpenSocket) -> None:
        try:
            self._inputs.put((effect.connection, GreenSocket.open(effect)))
        except OpenFailed as error:
            self._inputs.put((effect.connection, error.failure))
