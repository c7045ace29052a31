"""Background work tied to a call: started, watched and cancelled with it."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from jambonz_shared.errors import CallGone, CallLost
from jambonz_workers.state import CallState, StateChanges
from jambonz_workers.threads import running_loop

log = logging.getLogger(__name__)

Job = Coroutine[Any, Any, object]


class Work:
    """One piece of background work; made by ``Call.spawn``.

    Attributes:
        name: For logs.
    """

    __slots__ = ("_job", "_task", "name")

    def __init__(self, job: Job, name: str) -> None:
        self.name = name
        self._job: Job | None = job
        self._task: asyncio.Task[object] | None = None

    @property
    def is_done(self) -> bool:
        """True when it has ended, was cancelled, or will never start."""
        return self._task.done() if self._task else self._job is None

    @property
    def error(self) -> BaseException | None:
        """What it has raised; None while it runs, and if it ended as it should: with its call, too."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        error = self._task.exception()
        return None if isinstance(error, CallGone | CallLost) else error

    def cancel(self, why: str = "") -> None:
        """Cancel it: it gets ``asyncio.CancelledError(why)`` where it waits. May be repeated."""
        if self._task:
            self._task.cancel(why)
        elif self._job:
            self._job.close()
            self._job = None

    def start(self, context: contextvars.Context, call_sid: str, on_done: Callable[["Work"], None]) -> None:
        """Begin, once; does nothing after ``cancel``."""
        if self._job is None:
            return
        job, self._job = self._job, None
        self._task = asyncio.get_running_loop().create_task(_staying(job), name=self.name, context=context)

        def ended(task: asyncio.Task[object]) -> None:
            # Its first line has not run if it was cancelled before.
            job.close()
            self._ended(task, call_sid, on_done)

        self._task.add_done_callback(ended)

    async def wait(self) -> None:
        """Return when it has ended; its own failure is logged, not raised."""
        if self._task:
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[object], call_sid: str, on_done: Callable[["Work"], None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, CallGone | CallLost):
            # Its next command found that the call is over, or another worker's: the usual end of work.
            log.debug("background work ended with its call", extra={"call_sid": call_sid, "work": self.name})
        elif error:
            log.error("background work failed", exc_info=error, extra={"call_sid": call_sid, "work": self.name})
        on_done(self)


class Works:
    """The background work of one call that runs now.

    Attributes:
        running: In no order.
    """

    __slots__ = ("_call_sid", "_on_ended", "running")

    def __init__(self, call_sid: str, on_ended: Callable[[], None]) -> None:
        self.running: set[Work] = set()
        self._call_sid = call_sid
        self._on_ended = on_ended

    def start(self, work: Work, context: contextvars.Context) -> None:
        """Start one; ``on_ended`` is called when it has ended.

        Raises:
            RuntimeError: In a thread.
        """
        running_loop("call.spawn() outside of a handler")
        self.running.add(work)
        work.start(context, self._call_sid, self._ended)

    def cancel(self, why: str = "") -> None:
        """Cancel all."""
        for work in list(self.running):
            work.cancel(why)

    def end(self, why: str) -> None:
        """Cancel all, and tell nobody of their ends: the call is not ours any more.

        What would be told is a method of the call: the garbage collector, which comes seldom, would have to find both.
        """
        self._on_ended = _nothing
        self.cancel(why)

    def _ended(self, work: Work) -> None:
        self.running.discard(work)
        self._on_ended()


def exits(error: SystemExit) -> RuntimeError:
    """Return what a function of the app is taken to have raised that ends the process: other calls are in it."""
    return RuntimeError(f"sys.exit({error.code!r}) would end the worker with all its calls; raise an exception instead")


async def _staying(job: Job) -> object:
    try:
        return await job
    except SystemExit as error:
        raise exits(error) from error


def savable(state: CallState, call_sid: str) -> StateChanges:
    """Return what background work has changed in the state; what JSON cannot hold is forgotten, and logged."""
    try:
        return state.changes()
    except TypeError:
        for wrong in state.drop_unsavable():
            log.error("background work: %s; the field is as before", wrong, extra={"call_sid": call_sid})
    return state.changes()


def _nothing() -> None:
    """Nobody is told."""
