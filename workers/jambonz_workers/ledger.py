"""What a call has told, and what its handlers do, until it is committed. Compiled, while applications see the Call."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from jambonz_shared.directive import Ack, Directive
from jambonz_shared.errors import ClusterError
from jambonz_shared.kinds import TIMER
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.effects import Commit, answer
from jambonz_workers.event import Event
from jambonz_workers.facts import encode_facts, facts_after, has_own_socket, status_of
from jambonz_workers.handling import Handling, Office, OnCommitted, current, ignore, starting
from jambonz_workers.phase import Phase
from jambonz_workers.state import CallState, StateChanges
from jambonz_workers.timers import FIELD
from jambonz_workers.unread import is_unread, newest_answer
from jambonz_workers.verbs import Verbs
from jambonz_workers.work import savable

if TYPE_CHECKING:
    from jambonz_workers.call import Call


class Ledger:
    """Gathers what one call has to commit. It does not know its call, which would be a cycle: each commit names it.

    Attributes:
        facts: What jambonz told when the call began.
        status: Newest call status; empty when unknown.
        handling: The run of a handler whose effects are gathered now.
        checks_verbs: Verbs may be wrong for this app: ``Call.check_verbs`` finds out.
    """

    __slots__ = ("_answer", "_background_n", "_fence", "_office", "_phase", "_seen_facts", "_seen_status", "_state",
                 "checks_verbs", "facts", "handling", "status")  # fmt: skip

    def __init__(self, office: Office, claimed: ClaimedCall, state: CallState, phase: Phase) -> None:
        self.facts: dict[str, Any] = dict(claimed.facts)
        self.status = claimed.status
        self.handling: Handling | None = None
        self.checks_verbs: Final = office.target is not None or office.validate is not None
        self._office: Final = office
        self._fence: Final = claimed.fence
        self._state: Final = state
        self._phase: Final = phase
        self._background_n = 0
        self._answer: Ack | None = None
        # Facts and status that the next commit of an event saves.
        self._seen_facts, self._seen_status = b"", ""

    def observe(self, event: Event) -> None:
        """Learn facts and status from an event of jambonz."""
        if event.kind == TIMER:
            # Its data are the application's, maybe those of an event long ago.
            return
        facts = facts_after(self.facts, event)
        if facts is not None:
            self.note_facts(facts)
        # Each hook tells the status, mostly the same.
        if event.data.get("call_status") != self.status and (status := status_of(event)):
            self.status = self._seen_status = status

    def note_facts(self, facts: dict[str, Any]) -> None:
        """Replace the facts; saved with the next event."""
        self.facts = facts
        self._seen_facts = encode_facts(facts)

    def begin(self, call: "Call", handling: Handling) -> None:
        """Start gathering the effects of a handler that runs in the current context."""
        if call.works.running:
            # What these did to the state is not the fault of the handler that happens to come next, nor lost with it.
            call.save_work()
        self.handling = handling
        current.set(handling)

    def finish(self, handling: Handling) -> None:
        """Say that the handler has run and its effects are on their way."""
        handling.is_open = False
        self.handling = None

    def commit_handling(self, handling: Handling, verbs: Verbs | None, on_committed: OnCommitted) -> None:
        """Commit the ack (of a Hook that is not acked yet) and all that the handler did; then start its works.

        Raises:
            TypeError: If JSON cannot hold a value of the verbs, or a field of the state. Nothing is committed.
            MessageTooBig: See ``effects.answer``. Nothing is committed.
        """
        call, event, office = handling.call, handling.event, self._office
        changes = self._state.changes()
        directives, works = handling.directives, handling.works
        if event.is_hook and not handling.is_acked:
            is_apart = has_own_socket(self.facts)
            directives = answer(event, verbs, handling.late, office.new_id, office.process_id, is_apart) + directives
            if verbs:
                self._phase.change()
        handling.directives, handling.works = [], []
        done = on_committed if not works else starting(works, call.start, on_committed)
        if handling.is_acked:
            # The event itself is committed: what comes after its ack is a commit of its own.
            if directives or changes or works:
                self.commit_aside(call, directives, done, changes)
            else:
                done(None)
            return
        self.commit_event(call, event, directives, changes, done)

    def commit_event(
        self,
        call: "Call",
        event: Event,
        directives: Sequence[Directive],
        changes: StateChanges,
        on_committed: OnCommitted,
    ) -> None:
        """Commit an event as done, with these effects."""
        n = event.n
        if n == 0:
            # Of our own making: only a number of its own makes its commit a duplicate when it is repeated.
            self.commit_aside(call, directives, on_committed, changes)
            return
        if directives:
            self._answer = newest_answer(self._answer, event, directives)
        commit = Commit(event.epoch, n, directives, self._seen_facts, self._seen_status, changes)
        self._seen_facts, self._seen_status = b"", ""
        if changes:
            self._state.committed(changes)
            on_committed = _arming(call, changes, on_committed)
        self._office.commit(call, commit, on_committed)

    def commit_aside(
        self,
        call: "Call",
        directives: Sequence[Directive],
        on_committed: OnCommitted,
        changes: StateChanges | None = None,
        *,
        on_full: Callable[[int], None] | None = None,
    ) -> None:
        """Commit effects outside of an event; ``on_full`` as ``Commit.on_full``.

        While a handler runs, the state is in its hands and is saved with its effects.
        """
        if changes is None:
            changes = savable(self._state, call.sid) if self.handling is None else []
        if self._answer is not None:
            self._answer = newest_answer(self._answer, None, directives)
        self._background_n += 1
        self._state.committed(changes)
        on_committed = _arming(call, changes, on_committed)
        commit = Commit(-self._fence, self._background_n, directives, state=changes, on_full=on_full)
        self._office.commit(call, commit, on_committed)

    def answer_again(self, call: "Call", event: Event) -> bool:
        """Give the newest answer once more if ``event`` tells that it died with its websocket; return if it does."""
        answer = self._answer
        if answer is None or not is_unread(answer, event):
            return False
        self.commit_aside(call, [answer], ignore)
        return True


def _arming(call: "Call", changes: StateChanges, on_committed: OnCommitted) -> OnCommitted:
    if all(name != FIELD for name, _ in changes):
        return on_committed

    def committed(error: ClusterError | None) -> None:
        if error is None and call.over is None:
            call.timers.arm()
        on_committed(error)

    return committed
