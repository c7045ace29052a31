"""One run of a handler, and what a call needs around it."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from jambonz_shared.directive import Directive
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_workers.capabilities import Target
from jambonz_workers.effects import Commit
from jambonz_workers.environment import Declared
from jambonz_workers.event import Event
from jambonz_workers.routing import Late
from jambonz_workers.verbs import Verbs
from jambonz_workers.work import Work

if TYPE_CHECKING:
    from jambonz_workers.call import Call

OnCommitted = Callable[[ClusterError | None], None]
"""Gets None when the commit is in Redis, at once or by an earlier try; else ``CallGone`` or ``CallLost``."""


class Office(Protocol):
    """What a Call needs of the process it lives in: the worker, or a test client."""

    process_id: str
    target: Target | None
    environment: Declared
    validate: Callable[[Verbs], None] | None

    def new_id(self) -> str:
        """Return a directive id that this process uses once."""

    def commit(self, call: "Call", commit: Commit, on_committed: OnCommitted) -> None:
        """Save a commit; those of one call in the order of these calls."""

    def expect_transfer(self, call: "Call") -> None:
        """Find out, when the consent has ended, whether another app has the call."""

    def tell(self, envelope: Envelope) -> None:
        """Put an event of ours behind what waits in its call's mailbox."""


class Handling:
    """One run of a handler: what it has done so far, nothing of it committed yet.

    Attributes:
        is_open: False once its effects went out; later commands of the same task go out at once.
        is_acked: The hook was answered by ``Call.ack``.
        is_last: The call is over, whether jambonz has said so or not: nobody takes commands.
    """

    __slots__ = ("call", "directives", "event", "is_acked", "is_last", "is_open", "late", "works")

    def __init__(self, call: "Call", event: Event, late: Late, is_last: bool = False) -> None:
        self.call = call
        self.event = event
        self.late = late
        self.directives: list[Directive] = []
        self.works: list[Work] = []
        self.is_open = True
        self.is_acked = False
        self.is_last = is_last


current: Final[contextvars.ContextVar[Handling | None]] = contextvars.ContextVar("handling", default=None)
"""The handler that runs in this context, of whichever call."""

working_for: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("working_for", default="")
"""The ``call_sid`` whose background work runs in this context."""


def settle(future: "asyncio.Future[None]", error: ClusterError | None) -> None:
    """Give a future what ``OnCommitted`` got."""
    if future.done():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(None)


def starting(works: list[Work], start: Callable[[Work], None], on_committed: OnCommitted) -> OnCommitted:
    """Return ``on_committed`` with the works of a handler in front: started with its effects, or never."""

    def committed(error: ClusterError | None) -> None:
        for work in works:
            if error:
                work.cancel()
            else:
                start(work)
        on_committed(error)

    return committed


def ignore(_: ClusterError | None) -> None:
    """The call is released by whoever sees the error first."""
