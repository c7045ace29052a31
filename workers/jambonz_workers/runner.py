"""Runs an app's handlers and commits what they did; the same for the worker and for tests."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFrame
from jambonz_shared.kinds import TIMER, TRANSFERRED
from jambonz_shared.paths import shown_hook
from jambonz_workers import unread
from jambonz_workers.app import App
from jambonz_workers.call import Call
from jambonz_workers.effects import DECLINE_FAILED, DECLINE_UNKNOWN, HOLD, bare_ack, is_inbound_start
from jambonz_workers.event import Event
from jambonz_workers.facts import BEGUN
from jambonz_workers.handling import Handling, OnCommitted
from jambonz_workers.incoming import event_of
from jambonz_workers.live import is_told_to_end
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.phase import HEARD
from jambonz_workers.routing import Handler, Late, Route
from jambonz_workers.speech import OVERHEARD
from jambonz_workers.tally import kind_label
from jambonz_workers.threads import Threads
from jambonz_workers.verbs import Verbs, vendor_in, verb_list, verb_name
from jambonz_workers.work import Work, exits

log = logging.getLogger(__name__)

# Hooks may carry ids (pitfall 47), so what is remembered needs a limit.
_WARNED_LIMIT: Final = 1000


class Runner:
    """Runs handlers of one app. A failing handler is the app's ``on_error``'s business, never the caller's.

    Attributes:
        on_failure: Gets the event and the exception of a handler that nobody has answered but the log.
    """

    def __init__(self, app: App, metrics: WorkerMetrics, threads: Threads) -> None:
        self._app = app
        self._metrics = metrics
        self._threads = threads
        app.toolbox.in_thread = threads.run
        self._concurrent = app.concurrent
        self._hooks: Final = app.hooks.exact
        self._warned: set[str] = set()
        self.on_failure: Callable[[Event, Exception], None] | None = None

    async def handle(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        """Run the handler of an event and commit its effects; every Hook gets exactly one Ack.

        When cancelled, nothing is committed, except what ``call.ack`` has sent already.
        """
        kind = event.kind
        if kind == TIMER and not call.timers.forget(event.msgid):
            # Cancelled while it waited for its turn.
            call.ledger.commit_event(call, event, [], [], on_committed)
            return
        if kind == "session:new" and _has_begun(call, event):
            self._begun_before(call, event, on_committed)
            return
        ledger = call.ledger
        ledger.observe(event)
        if kind == unread.KIND and ledger.answer_again(call, event):
            log.info("an answer died with its websocket and is given again", extra={"call_sid": call.sid})
        # The usual path is that of a hook, as it was registered.
        route = self._hooks.get(event.hook) if kind != "session:new" else None
        found = self._app.resolve(event, call.path) if route is None else (route, {})
        if found is None:
            self._unhandled(call, event, on_committed)
            return
        target, params = found
        handler, late = (target.handler, target.late) if isinstance(target, Route) else (target, "redirect")
        if kind in self._concurrent and self._concurrent_handler(event, call.path):
            # It was started when the event arrived.
            call.ledger.commit_event(call, event, [], [], on_committed)
            return
        if params or handler.event_type is not Event:
            event = event.seen_as(handler.event_type, params)
        await self._run(call, event, handler, late, on_committed)

    def overhear(self, call: Call, envelope: Envelope) -> None:
        """Tell what runs for a call of an event before its turn; start its handler if that is concurrent."""
        try:
            self._overhear(call, envelope)
        except Exception:
            # Our own fault: what came with it, of this call and of others, is to be handled all the same.
            self._metrics.failures.inc()
            log.exception("event could not be overheard", extra={"call_sid": call.sid, "kind": envelope.kind})

    def _overhear(self, call: Call, envelope: Envelope) -> None:
        if envelope.kind in HEARD:
            call.phase.hear(envelope)
        if not call.is_speaking and envelope.kind not in self._concurrent:
            return
        try:
            event = event_of(envelope)
        except BadFrame:
            # In its turn it is found out again, and logged.
            return
        call.overhear(event)
        if not envelope.deaths:
            self._begin_beside(call, event)

    async def again(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        """Do as ``handle`` with an event over which workers have died: no handler of it has begun before its turn."""
        self._begin_beside(call, event)
        await self.handle(call, event, on_committed)

    def _begin_beside(self, call: Call, event: Event) -> None:
        handler = self._concurrent_handler(event, call.path)
        if handler:
            call.start(Work(self._invoke(handler, call, handler.seen(event)), handler.name))

    def _concurrent_handler(self, event: Event, path: str) -> Handler | None:
        found = self._app.resolve(event, path) if event.kind in self._concurrent else None
        handler = found[0] if found else None
        return handler if isinstance(handler, Handler) else None

    async def takeover(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        """Run the app's takeover handler, if it has one; otherwise as ``handle``."""
        handler = self._app.takeover_handler
        if handler is None:
            call.ledger.commit_event(call, event, [], [], on_committed)
            return
        await self._run(call, handler.seen(event), handler, "redirect", on_committed)

    def quarantined(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        """Ack a Hook whose handler kills workers without running it."""
        verbs = DECLINE_FAILED if is_inbound_start(event) else ()
        acks = [bare_ack(event, verbs, call.new_id)] if event.is_hook else []
        call.ledger.commit_event(call, event, acks, [], on_committed)

    async def end(self, call: Call, event: Event) -> None:
        """Run the app's end handler; its commands and state have nobody left to take them."""
        handler = self._app.end_handler
        if handler is None:
            return
        handling = Handling(call, event, "drop", is_last=True)
        call.ledger.begin(call, handling)
        try:
            await self._invoke(handler, call, handler.seen(event))
        except Exception as error:  # noqa: BLE001 whatever the application does, the call is over
            self._metrics.handler_failures.inc()
            self._log_failure("end handler failed", event, handler, error)
        finally:
            call.abandon(handling)
            call.ledger.finish(handling)

    async def _run(self, call: Call, event: Event, handler: Handler, late: Late, on_committed: OnCommitted) -> None:
        handling = Handling(call, event, late)
        call.ledger.begin(call, handling)
        failure: Exception | None = None
        try:
            try:
                result = await self._invoke(handler, call, event)
                self._commit(handling, result, on_committed)
            except Exception as error:  # noqa: BLE001 the hook must be acked whatever the application does
                failure = error
            # Behind the clause and not in it: compiled, its exception would be that of all calls meanwhile (ADR 0013).
            if failure is not None:
                failure.add_note(f"in the handler {handler.place}")
                call.abandon(handling)
                self._metrics.handler_failures.inc()
                await self._failed(handling, failure, handler, on_committed)
        except BaseException:
            call.abandon(handling)
            raise
        finally:
            # Its traceback holds this frame, which must not wait for the garbage collector.
            failure = None
            call.ledger.finish(handling)

    def _commit(self, handling: Handling, result: object, on_committed: OnCommitted) -> None:
        verbs = None if result is None else self._answer_in(handling, result)
        handling.call.ledger.commit_handling(handling, verbs, on_committed)

    def _answer_in(self, handling: Handling, result: object) -> list[dict[str, Any]] | None:
        """Return the checked verbs that a handler gave; None if they are for nobody, or sent as a redirect.

        From here on they are a list: a builder of jambonz-python-sdk is empty once it has been asked.
        """
        call, event = handling.call, handling.event
        kind = event.kind
        if kind == TIMER:
            self._redirect_late(call, event, verb_list(result))
            return None
        if not event.is_hook or handling.is_acked:
            self._warn_once(
                _key("result", event),
                "a handler returned verbs where none are taken; they are ignored. call.redirect(verbs) sends them",
                event,
            )
            return None
        verbs = verb_list(result)
        # With every answer, and mostly there is nothing to be checked.
        if call.ledger.checks_verbs:
            call.check_verbs(verbs)
        if vendor := vendor_in(verbs):
            call.note_model(vendor)
        if not verbs and is_inbound_start(event):
            self._warn_once(f"empty {call.path}", "an inbound call gets no verbs; held, or jambonz rejects it", event)
        if kind == "dial:confirm" and any(verb_name(verb) == "play" for verb in verbs):
            # Pitfall 42: it is pruned without a word.
            self._warn_once(_key("play", event), "jambonz leaves out `play` in the answer to dial:confirm", event)
        return verbs

    def _redirect_late(self, call: Call, event: Event, verbs: list[dict[str, Any]]) -> None:
        """Send what the handler of a timer has returned, which has nobody to answer."""
        if not verbs:
            return
        if call.has_own_socket:
            call.redirect(verbs)
        else:
            # jambonz looks at no leg of a redirect, and would end the dial (PROTOCOL.md 3.2).
            text = "a timer of a leg without a websocket of its own returned verbs; they are ignored"
            self._warn_once(_key("result", event), text, event)

    async def _failed(self, handling: Handling, error: Exception, handler: Handler, on_committed: OnCommitted) -> None:
        """Ask the app's error handler for verbs, else log; then commit an answer in any case."""
        event, call = handling.event, handling.call
        verbs: object = None
        on_error = self._app.error_handler
        if on_error is None:
            self._log_failure("handler failed", event, handler, error)
        else:
            try:
                verbs = await self._invoke(on_error, call, event, error)
                if verbs is None and not handling.is_acked:
                    verbs = _verbs_of_failure(event)
                self._commit(handling, verbs, on_committed)
            except Exception as second:  # noqa: BLE001 the hook must be acked even so
                call.abandon(handling)
                self._log_failure("handler failed", event, handler, error)
                self._log_failure("error handler failed", event, on_error, second)
            else:
                return
        call.ledger.commit_handling(handling, _verbs_of_failure(event), on_committed)

    def _log_failure(self, text: str, event: Event, handler: Handler, error: Exception) -> None:
        hook = shown_hook(event.hook)
        extra = {"call_sid": event.call_sid, "kind": event.kind, "hook": hook, "handler": handler.name}
        log.error(text, exc_info=error, extra=extra)
        if self.on_failure:
            self.on_failure(event, error)

    def _begun_before(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        """Let go of a ``session:new`` whose call has begun without it; of two, one runs (PROTOCOL.md 2.6.1).

        Its socket was lost before Redis knew of the call, so the reconnect behind it may begin the call, too. If that
        was quicker, the ack of the first is for nobody; if it is not, the call goes on. If the reconnect comes second,
        the gateway answers it with the ack of the first, or falls back.
        """
        verbs = HOLD if is_inbound_start(event) else ()
        acks = [] if event.is_stand_in else [bare_ack(event, verbs, call.new_id)]
        call.ledger.commit_event(call, event, acks, [], on_committed)

    def _unhandled(self, call: Call, event: Event, on_committed: OnCommitted) -> None:
        self._metrics.unhandled.labels(kind_label(event.kind)).inc()
        if event.kind == TIMER:
            self._warn_once(_key("unhandled", event), "no @app.hook for the path of a timer", event)
        if not event.is_hook:
            call.ledger.commit_event(call, event, [], [], on_committed)
            return
        verbs: Verbs = ()
        if is_inbound_start(event):
            verbs = DECLINE_UNKNOWN
            text = "no session handler for a path; its calls are declined (404)"
            self._warn_once(f"unhandled {call.path}", text, event, path=call.path)
        else:
            text = "no handler for a hook; it gets an empty ack"
            self._warn_once(_key("unhandled", event), text, event)
        call.ledger.commit_event(call, event, [bare_ack(event, verbs, call.new_id)], [], on_committed)

    async def _invoke(self, handler: Handler, *arguments: Any) -> object:
        """Run a function of the app.

        Raises:
            RuntimeError: If it awaits what somebody else has cancelled: as ``CancelledError`` that would end its call's
                own task, and no event of the call would run any more. If it ends the process: see ``exits``.
        """
        taken = arguments[: handler.arity]
        try:
            if not handler.is_async:
                return await self._threads.run(handler.function, *taken)
            return await handler.function(*taken)
        except SystemExit as error:
            raise exits(error) from error
        except asyncio.CancelledError as error:
            if not handler.is_async or is_told_to_end():
                raise
            raise RuntimeError("what the handler awaited was cancelled") from error

    def _warn_once(self, key: str, text: str, event: Event, **more: str) -> None:
        if key in self._warned or len(self._warned) >= _WARNED_LIMIT:
            return
        self._warned.add(key)
        log.warning(text, extra={"kind": event.kind, "hook": shown_hook(event.hook), **more})


def overheard_by(app: App) -> frozenset[str]:
    """Return the kinds of which the runner must be told when they arrive, by ``overhear``."""
    return OVERHEARD | HEARD | {TRANSFERRED} | app.concurrent


def _has_begun(call: Call, event: Event) -> bool:
    """True if ``event`` is a second beginning; jambonz' own later ``session:new`` begins anew (PROTOCOL.md 2.4)."""
    begun_at_ms = call.facts.get(BEGUN)
    return begun_at_ms is not None and (event.is_stand_in or event.received_at_ms < begun_at_ms)


def _key(what: str, event: Event) -> str:
    """Return what a warning about the hook of ``event`` is remembered by."""
    return f"{what} {event.kind} {shown_hook(event.hook)}"


def _verbs_of_failure(event: Event) -> Verbs | None:
    return DECLINE_FAILED if is_inbound_start(event) else None
