"""A call this worker owns, with what runs for it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from jambonz_shared.redis.scripts import Ownership
from jambonz_workers.call import Call
from jambonz_workers.delivery import Delivery


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call this worker owns.

    Attributes:
        task: Runs its events one after the other; None while there are none. A task per event costs 2.6 us of
            some 20 that an event costs, stepping handlers without one 0.6 us (measured, 16 events a tick), but
            a handler needs a task of its own for ``asyncio.timeout``, and a pool of tasks is slower as soon as
            handlers wait.
        delivery: The event that runs now.
        committed: Highest n that Redis has confirmed, by epoch.
        sent: Highest n that was sent to Redis, by epoch.
        newest_series: Epoch, or series of effects outside of events, of what was sent last.
        is_inherited: Another owner had handled events of it, and the application has not been told of the takeover.
            A notice may come without that: its first owner died before it had begun, or an adoption was repeated.
        renew_at_s: Loop time from which on the next commit renews the time to live of the Call.
        is_detached: Its last Connection has left, as far as is known.
        has_ended: The application's end handler has begun.
        was_full: Commands were refused because too many wait, and the log has told it.
        missed_at_s: Loop time at which a commit has found that Redis does not have it; 0 if it has.
    """

    call: Call
    ownership: Ownership
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    delivery: Delivery | None = None
    committed: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    newest_series: int = 0
    is_inherited: bool = False
    renew_at_s: float = 0.0
    is_detached: bool = False
    has_ended: bool = False
    was_full: bool = False
    missed_at_s: float = 0.0

    def wake_at(self, at_s: float, loop: asyncio.AbstractEventLoop, wake: "Callable[[LiveCall], None]") -> None:
        """Call ``wake`` at ``at_s``, unless it is called earlier anyway."""
        if self.timer is not None:
            if self.timer.when() <= at_s:
                return
            self.timer.cancel()
        self.timer = loop.call_at(at_s, wake, self)

    def confirm(self, epoch: int, n: int) -> None:
        """Note that Redis has this event; its epoch is below zero for effects outside of events."""
        self.committed[epoch] = max(n, self.committed.get(epoch, 0))

    def renews(self, now_s: float) -> bool:
        """Tell whether the next commit renews the time to live of the Call, four times in its length."""
        if now_s < self.renew_at_s:
            return False
        self.renew_at_s = now_s + self.ownership.ttl_ms / 4000
        return True


def is_told_to_end() -> bool:
    """Tell whether a ``CancelledError`` is meant for the running task, and not only for something that it awaits."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


_IS_EAGER: Final = sys.version_info >= (3, 12)


def started(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str) -> asyncio.Task[None]:
    """Return a task; from Python 3.12 on its first step has run, so that most events need no loop tick more."""
    if _IS_EAGER:
        return asyncio.Task(work, loop=loop, name=name, eager_start=True)  # type: ignore[call-arg]
    # With a name, since to make one up takes as long as all else of it.
    return asyncio.Task(work, loop=loop, name=name)
