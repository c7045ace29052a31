"""A small deterministic scheduler for processes written as generators. Pure.

jambonz is JavaScript: its verbs are async functions over promises, timers and one queue of
ready callbacks. The same three things are rebuilt here without a clock, so that the order of
messages can be modelled as jambonz produces it and tested without sleeping.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")


class Killed:
    """What a process yields to those who wait for it when it was killed."""


class TimedOut:
    """What `Kernel.first` gives when its time limit passed before a promise was settled."""


KILLED: Final = Killed()
TIMED_OUT: Final = TimedOut()


class Promise(Generic[T]):
    """A value that comes later; settled at most once, further settling is ignored."""

    __slots__ = ("_kernel", "_waiters", "is_settled", "value")

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._waiters: list[Callable[[T], None]] = []
        self.is_settled = False
        self.value: T | None = None

    def settle(self, value: T) -> None:
        """Give the value to all who wait, as ready callbacks, never from inside this call."""
        if self.is_settled:
            return
        self.is_settled = True
        self.value = value
        for waiter in self._waiters:
            self._kernel.soon(waiter, value)
        self._waiters.clear()

    def then(self, callback: Callable[[T], None]) -> None:
        """Call back with the value, in a later ready callback even if it is settled already."""
        if self.is_settled:
            self._kernel.soon(callback, self.value)
        else:
            self._waiters.append(callback)


Steps: TypeAlias = Generator[Promise[Any], Any, T]
"""A process body: yields promises, is resumed with their values, returns a ``T``."""


@dataclass(slots=True, order=True)
class Timer:
    """A callback that becomes ready at ``due_s`` unless it is cancelled first."""

    due_s: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Make the timer do nothing; harmless when it has fired."""
        self.callback = None


class Process(Generic[T]):
    """A running generator; ``finished`` is settled with its value, or `KILLED`."""

    __slots__ = ("_body", "_kernel", "_waits_for", "finished", "is_over")

    def __init__(self, kernel: "Kernel", body: Steps[T]) -> None:
        self._kernel = kernel
        self._body = body
        self._waits_for: Promise[Any] | None = None
        self.is_over = False
        self.finished: Promise[T | Killed] = Promise(kernel)
        kernel.soon(self._step, None)

    def kill(self) -> None:
        """End the process at the promise it waits for; its ``finally`` blocks run, in a callback."""
        if self.is_over:
            return
        self.is_over = True
        self._waits_for = None
        self._kernel.soon(self._close, None)

    def _close(self, _: None) -> None:
        self._body.close()
        self.finished.settle(KILLED)

    def _step(self, value: Any) -> None:
        if self.is_over:
            return
        try:
            promise = self._body.send(value)
        except StopIteration as end:
            self._end(end.value)
        else:
            # Harmless if the process has killed itself meanwhile: see `_resume`.
            self._waits_for = promise
            promise.then(lambda result: self._resume(promise, result))

    def _end(self, value: T) -> None:
        if not self.is_over:
            self.is_over = True
            self.finished.settle(value)

    def _resume(self, promise: Promise[Any], value: Any) -> None:
        if self._waits_for is promise:
            self._waits_for = None
            self._step(value)


class Kernel:
    """Runs ready callbacks in order, then timers that are due, until nothing is left to do now."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._ready: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._timers: list[Timer] = []
        self._timer_number = 0

    def soon(self, callback: Callable[[Any], None], value: Any) -> None:
        """Run ``callback(value)`` before time moves on."""
        self._ready.append((callback, value))

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Run the callback once ``delay_s`` have passed; 0 means after all that is ready now."""
        self._timer_number += 1
        timer = Timer(self.now_s + delay_s, self._timer_number, callback)
        heappush(self._timers, timer)
        return timer

    def sleep(self, delay_s: float) -> Promise[None]:
        """Give a promise that is settled after ``delay_s``."""
        promise: Promise[None] = Promise(self)
        self.after(delay_s, lambda: promise.settle(None))
        return promise

    def first(self, *promises: Promise[Any], within_s: float | None = None) -> Promise[Any]:
        """Give a promise for the earliest of ``promises``, or `TIMED_OUT` after ``within_s``."""
        winner: Promise[Any] = Promise(self)
        timer = None if within_s is None else self.after(within_s, lambda: winner.settle(TIMED_OUT))

        def settle(value: Any) -> None:
            if timer is not None:
                timer.cancel()
            winner.settle(value)

        for promise in promises:
            promise.then(settle)
        return winner

    def spawn(self, body: Steps[T]) -> Process[T]:
        """Start a process; its first step runs as a ready callback."""
        return Process(self, body)

    def run(self, now_s: float) -> None:
        """Move time to ``now_s`` (never back) and run all that is due, in order of due time."""
        self._run_ready()
        while self._timers and self._timers[0].due_s <= max(now_s, self.now_s):
            timer = heappop(self._timers)
            self.now_s = max(self.now_s, timer.due_s)
            if timer.callback is not None:
                timer.callback()
                self._run_ready()
        self.now_s = max(self.now_s, now_s)

    @property
    def wakes_at_s(self) -> float | None:
        """When `run` has to be called again at the latest, ``None`` if no timer is pending."""
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        return self._timers[0].due_s if self._timers else None

    def _run_ready(self) -> None:
        while self._ready:
            callback, value = self._ready.popleft()
            callback(value)
