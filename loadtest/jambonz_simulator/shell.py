"""Carries out what a simulated call wants, on an asyncio loop: sockets, timers, waiting for conditions."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic

from jambonz_simulator.core.call import SimulatedCall
from jambonz_simulator.core.effects import AbortSocket, CloseSocket, Effect, EndCall, OpenSocket, SendFrame
from jambonz_simulator.core.records import CallResult
from jambonz_simulator.sockets import OpenFailed, Socket, open_socket


class NotInTime(AssertionError):
    """What a test waited for has not happened; the message holds the end of the transcript."""


class CallShell:
    """The world around one state machine; the Listener of its sockets.

    Attributes:
        core: The state machine, to look at.
    """

    def __init__(self, core: SimulatedCall) -> None:
        self.core = core
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[int, Socket] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._reaped: asyncio.Future[None] | None = None
        self._has_left = False
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at_s: float | None = None
        self._watchers: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def start(self) -> None:
        """Let the call come in (or go out); call once."""
        self._carry_out(self.core.start(monotonic()))

    async def leave(self) -> None:
        """Give up: close nothing, drop all sockets, do nothing any more. Safe to call more than once."""
        self._has_left = True
        if self._timer is not None:
            self._timer.cancel()
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for socket in list(self._sockets.values()):
            socket.abort()

    async def wait_until(self, what: str, condition: Callable[[], object], timeout_s: float | None) -> None:
        """Wait until ``condition()`` is true; looked at after everything that happens.

        Raises:
            NotInTime: If it has not come true in time, or the call ended without it.
        """
        if condition():
            return
        if self.core.result is not None:
            raise self._ended_before(self.core.result, what)
        future: asyncio.Future[None] = self._loop.create_future()
        watcher = (condition, future)
        self._watchers.append(watcher)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise NotInTime(f"not within {timeout_s} s: {what}; {self._story()}") from None
        except asyncio.InvalidStateError:
            assert self.core.result is not None
            raise self._ended_before(self.core.result, what) from None
        finally:
            self._watchers.remove(watcher)

    async def wait_for_reaping(self, linger_s: float) -> bool:
        """Wait until the server has closed what jambonz never closes; false if it does not in time."""
        if self._sockets:
            self._reaped = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(linger_s):
                    await self._reaped
        return not self._sockets

    # The Listener of sockets.

    def frames_received(self, connection: int, payloads: Sequence[bytes]) -> None:
        """Feed messages of the server to the core."""
        self._carry_out(self.core.frames_received(connection, payloads, monotonic()))

    def socket_closed(self, connection: int, code: int) -> None:
        """Tell the core that a socket is gone."""
        self._sockets.pop(connection, None)
        if not self._sockets and self._reaped is not None and not self._reaped.done():
            self._reaped.set_result(None)
        self._carry_out(self.core.socket_closed(connection, code, monotonic()))

    # The machinery.

    def _carry_out(self, effects: list[Effect]) -> None:
        if self._has_left:
            return
        for effect in effects:
            self._perform(effect)
        for socket in list(self._sockets.values()):
            socket.flush()
        self._look_around()
        self._set_timer()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendFrame(connection, payload):
                if connection in self._sockets:
                    self._sockets[connection].send_text(payload)
            case OpenSocket(connection=connection):
                self._opening[connection] = asyncio.create_task(self._open(effect))
            case CloseSocket(connection, code):
                if connection in self._sockets:
                    self._sockets[connection].close(code)
            case AbortSocket(connection):
                socket = self._sockets.pop(connection, None)
                if socket is not None:
                    socket.abort()
            case EndCall():
                pass

    async def _open(self, effect: OpenSocket) -> None:
        connection = effect.connection
        try:
            socket = await open_socket(connection, effect.url, effect.credentials, effect.within_s, self)
        except OpenFailed as error:
            self._carry_out(self.core.socket_failed(connection, error.failure, monotonic()))
        else:
            self._sockets[connection] = socket
            self._carry_out(self.core.socket_opened(connection, monotonic()))
            socket.release()
        finally:
            self._opening.pop(connection, None)

    def _look_around(self) -> None:
        for condition, future in self._watchers:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            elif self.core.result is not None:
                future.set_exception(asyncio.InvalidStateError())

    def _set_timer(self) -> None:
        wakes_at_s = self.core.wakes_at_s
        if self._timer is not None:
            if wakes_at_s == self._wakes_at_s:
                return
            self._timer.cancel()
        self._wakes_at_s = wakes_at_s
        self._timer = None
        if wakes_at_s is not None:
            # A loop may be a millisecond early (uvloop counts in them): the core then asks again.
            self._timer = self._loop.call_later(max(0.0, wakes_at_s - monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.core.tick(monotonic()))

    def _ended_before(self, result: CallResult, what: str) -> NotInTime:
        return NotInTime(f"the call ended before {what}: {result.outcome}; {self._story()}")

    def _story(self) -> str:
        lines = [f"{e.t_s:.3f} #{e.connection} {e.who}: {e.frame}"[:300] for e in self.core.world.ledger.entries[-12:]]
        return "the last lines:\n" + "\n".join(lines)
