"""Call: one call as its handlers see it. Effects of a handler are gathered and committed together."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jambonz_shared.directive import Close, Command, Directive
from jambonz_shared.errors import CallGone, ClusterError
from jambonz_shared.kinds import FINAL_STATUSES, TIMER
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_workers.capabilities import Target
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.controls import NORMAL_CLOSURE, Posted, Sending, Settled
from jambonz_workers.durable import Durable
from jambonz_workers.environment import typed
from jambonz_workers.event import Event
from jambonz_workers.handling import Handling, Office, current, ignore, settle, working_for
from jambonz_workers.ledger import Ledger
from jambonz_workers.phase import Phase
from jambonz_workers.speech import Speech, Voice
from jambonz_workers.state import CallState
from jambonz_workers.threads import running_loop
from jambonz_workers.timers import Timers
from jambonz_workers.verbs import vendor_in, verb_list
from jambonz_workers.work import Job, Work, Works, savable


class Call(Durable):
    """One call. Inside a handler, commands, state and background work take effect together with its ack.

    Commands inside a handler have the Outcome ``queued``; in background work they go out at once, and awaiting
    them raises ``CallGone`` when the call is over and ``CallLost`` when another worker owns it.

    Attributes:
        sid: jambonz's ``call_sid``.
        app: Name of the app.
        path: Path the call's websocket was opened at, when the call was claimed.
        companion: What a layer of ``contrib`` keeps with the call; it lives as long as this object.
    """

    __slots__ = (
        "_office", "_state", "_voice", "app", "companion", "fence", "ledger", "over", "path", "phase", "timers",
        "works",
    )  # fmt: skip

    def __init__(self, sid: str, office: Office, claimed: ClaimedCall) -> None:
        super().__init__(sid)
        self.app = claimed.app
        self.path = claimed.path
        self.fence = claimed.fence
        self._state = CallState(claimed.state)
        self.over: ClusterError | None = None
        self.companion: object = None
        self._office = office
        self.works = Works(sid, self.save_work)
        self.phase = Phase(claimed.status)
        self.ledger = Ledger(office, claimed, self._state, self.phase)
        self._voice: Voice | None = None
        self.timers = Timers(sid, claimed.fence, self._state, office.tell)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What jambonz told when the call began; without the SIP message, which only ``session:new`` carries."""
        return MappingProxyType(self.ledger.facts)

    @property
    def status(self) -> str:
        """Newest call status, such as ``in-progress``; empty when unknown."""
        return self.ledger.status

    def note_model(self, vendor: str) -> None:
        """Remember the ``vendor_in`` verbs that jambonz is going to run; saved with the next event."""
        if vendor and vendor != self.model_vendor:
            self.ledger.note_facts({**self.ledger.facts, "llm_vendor": vendor})

    def check_verbs(self, verbs: object) -> None:
        """Let pass verbs that may be sent; see ``Controls.check_verbs``."""
        if not self.ledger.checks_verbs:
            return
        # Once: a builder is empty then.
        verbs = verb_list(verbs)
        super().check_verbs(verbs)
        if self._office.validate:
            self._office.validate(verbs)

    def redirect(self, verbs: object, queue: bool = False, *, leg: str | None = None) -> Sending:
        """Replace the running application by ``verbs``, or append them; see ``Controls.redirect``."""
        verbs = verb_list(verbs)
        sending = super().redirect(verbs, queue, leg=leg)
        self.phase.change()
        self.note_model(vendor_in(verbs))
        return sending

    @property
    def target(self) -> Target | None:
        """The line of jambonz that the app is made for."""
        return self._office.target

    @property
    def env(self) -> Mapping[str, Any]:
        """Environment variables as ``App(env=...)`` declares them: typed, with their defaults."""
        return typed(self._office.environment, self.env_vars)

    async def ack(self, verbs: object = None) -> None:
        """Answer the current hook now, and commit what the handler has done so far.

        The handler must return None afterwards. Should the worker die later on, the event is not handled again.
        When cancelled, the ack may have gone out.

        Raises:
            RuntimeError: If there is no hook to answer, or it is answered.
            Unsupported, InvalidVerbs: See ``check_verbs``.
            CallGone: If the call is over.
            CallLost: If another worker owns the call.
        """
        handling = self._current()
        if handling is None or not handling.event.is_hook:
            raise RuntimeError("call.ack() answers the hook that is being handled; there is none here")
        if handling.is_acked:
            raise RuntimeError(f"call.ack(): {handling.event.hook or handling.event.kind!r} is answered already")
        if verbs is not None:
            verbs = self._checked(verbs)
            self.note_model(vendor_in(verbs))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ledger.commit_handling(handling, verbs, lambda error: settle(future, error))
        handling.is_acked = True
        await future

    def close(self, code: int = NORMAL_CLOSURE) -> Sending:
        """Close the call's newest websocket; jambonz reconnects unless the code is 1000."""
        if not 1000 <= code <= 4999:
            raise ValueError(f"expected a websocket close code, 1000 to 4999, got {code!r}")
        return self._act([Close(self._office.new_id(), code, self._office.process_id)])

    def spawn(self, job: Job, name: str | None = None) -> Work:
        """Run a coroutine beside the handlers, for as long as the call lives here.

        Inside a handler it starts once the handler's effects are committed, and not at all if the handler fails.
        It is cancelled when the call ends, moves to another worker, or the worker shuts down.

        Raises:
            TypeError: If it is no coroutine.
        """
        if not asyncio.iscoroutine(job):
            raise TypeError(f"call.spawn() expects a coroutine such as spawn(tick(call)), got {type(job).__name__}")
        work = Work(job, name or getattr(job, "__qualname__", None) or "work")
        handling = self._current()
        if handling:
            handling.works.append(work)
        else:
            self.start(work)
        return work

    def tts_stream(self) -> Speech:
        """Speak text while it is still being written: ``async with call.tts_stream() as speech``.

        jambonz must stream by then (``config`` with ``ttsStream``, or ``say`` with ``stream``). Works in a handler,
        whose text goes out at once and not with its answer, and in background work.

        Raises:
            RuntimeError: In a handler of ``session:new`` that has not answered: jambonz takes no text before.
        """
        handling = self._current()
        if handling and handling.event.kind == "session:new" and not handling.is_acked:
            raise RuntimeError(
                "call.tts_stream(): answer session:new first, by `await call.ack(verbs)`, or use call.spawn"
            )
        self._voice = self._voice or Voice(self.sid, self.send_now)
        return Speech(self._voice)

    def send_now(self, frames: Sequence[bytes]) -> "asyncio.Future[Outcome]":
        """Send command frames at once, also inside a handler."""
        return self._act_now([Command(self._office.new_id(), frame, self._office.process_id) for frame in frames])

    def _send(self, frames: Sequence[bytes]) -> Sending:
        return self._act([Command(self._office.new_id(), frame, self._office.process_id) for frame in frames])

    def _why_refused(self, command: str) -> str:
        return self.phase.why_refused(command)

    def _why_doubted(self, command: str) -> str:
        return self.phase.why_doubted(command)

    def _act(self, directives: list[Directive]) -> Sending:
        handling = self._current()
        # A handler that was overtaken by the end of its call may finish in peace; later ones must know.
        if self.status in FINAL_STATUSES or handling.is_last if handling else self.phase.is_over:
            raise CallGone(self.sid)
        if handling:
            handling.directives += directives
            return Settled(Outcome(directives[-1].id, OutcomeKind.QUEUED))
        return self._act_now(directives)

    def _act_now(self, directives: list[Directive]) -> "asyncio.Future[Outcome]":
        if self.over:
            raise self.over
        posted = Posted(directives[-1].id, running_loop("a command outside of a handler").create_future())
        self.ledger.commit_aside(self, directives, posted.committed, on_full=posted.refused)
        return posted.outcome

    def _current(self) -> Handling | None:
        handling = current.get()
        return handling if handling and handling.call is self and handling.is_open else None

    # What the worker (or the test client) does with it.

    def new_id(self) -> str:
        """Return a new directive id."""
        return self._office.new_id()

    @property
    def is_speaking(self) -> bool:
        """True if a text stream was begun, so that kinds ``OVERHEARD`` must be told to ``overhear``."""
        return self._voice is not None

    def overhear(self, event: Event) -> None:
        """Tell the running speech of an event before its turn."""
        if self._voice:
            self._voice.hear(event)

    def undo(self) -> None:
        """Forget what the running handler did and was not committed."""
        if handling := self._current():
            self.abandon(handling)

    def abandon(self, handling: Handling) -> None:
        """Forget what a failed handler did and was not committed."""
        for work in handling.works:
            work.cancel()
        handling.directives.clear()
        handling.works.clear()
        self._state.rollback()
        if handling.event.kind == TIMER:
            # It has had its run.
            self.timers.forget(handling.event.msgid)

    def release(self, reason: ClusterError) -> None:
        """Cancel all that runs: the call is over, or not ours any more."""
        self.over = self.over or reason
        if self._voice:
            self._voice.stop(self.over)
        self.timers.stop()
        self.works.end(str(self.over))

    def cancel_works(self) -> None:
        """Cancel all background work."""
        self.works.cancel()

    def start(self, work: Work) -> None:
        """Start background work now."""
        if self.over:
            work.cancel()
            return
        context = contextvars.copy_context()
        context.run(current.set, None)
        context.run(working_for.set, self.sid)
        self.works.start(work, context)

    def save_work(self) -> None:
        """Save what background work that has ended did to the state."""
        if self.over or self.ledger.handling:
            return
        if changes := savable(self._state, self.sid):
            self.ledger.commit_aside(self, [], ignore, changes)

    def _save_aside(self) -> None:
        if self.ledger.handling is None:
            self.ledger.commit_aside(self, [], ignore)
        elif self._current() is None:
            # Beside a handler, whose commit may come late, and whose failure must not take this back.
            self.ledger.commit_aside(self, [], ignore, self._state.own_changes())

    def _expect_transfer(self) -> None:
        self._office.expect_transfer(self)
