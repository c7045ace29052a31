"""The calls that live in a worker process: taken in, run in order, let go."""

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, assert_never

import orjson

from jambonz_shared.envelope import Envelope, notice
from jambonz_shared.errors import BadFrame, CallGone, CallLost, CallTransferred, ClusterError
from jambonz_shared.kinds import DETACHED, ENDED, FINAL_STATUSES, TAKEOVER, TRANSFERRED
from jambonz_shared.redis.scripts import (
    CallKeys,
    CallRecord,
    Claimed,
    Ended,
    Fenced,
    Gone,
    OtherApp,
    OwnedBy,
    Ownership,
    StillLive,
)
from jambonz_workers.call import Call
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.claims import ClaimAnswer, Claims
from jambonz_workers.committer import Committer
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.dispatcher import Claim, Dispatcher, Effect, Forward, Overhear, Ready, Settle, Shed, Wait
from jambonz_workers.effects import Commit, bare_ack
from jambonz_workers.forwarder import Forwarder
from jambonz_workers.handling import OnCommitted
from jambonz_workers.incoming import bare_event_of, event_of
from jambonz_workers.live import LiveCall, started
from jambonz_workers.losses import Losses
from jambonz_workers.outbox import Outbox
from jambonz_workers.recovery import Recovery
from jambonz_workers.runner import Runner
from jambonz_workers.suspects import Suspects
from jambonz_workers.sweeper import Sweeper
from jambonz_workers.terms import Terms
from jambonz_workers.transfer import CONSENT_S, consented_app

log = logging.getLogger(__name__)

# Events of a call, 5 ms, before others have their turn: tens of thousands may have gathered behind a busy handler.
_IN_TURN: Final = 64


class _Receipt:
    """Tells the office when what an event did has been committed; it is the callback, so that it costs one object."""

    __slots__ = ("delivery", "office")

    def __init__(self, office: "Office", delivery: Delivery) -> None:
        self.office = office
        self.delivery = delivery

    def __call__(self, error: ClusterError | None) -> None:
        """Take what became of the commit."""
        self.office.handled(self.delivery, error)


class Office:
    """The calls of one worker process. Callbacks of Redis and of streams come here; nothing in here waits."""

    def __init__(self, terms: Terms, dispatcher: Dispatcher, outbox: Outbox, sweeper: Sweeper, runner: Runner) -> None:
        self.process_id = terms.process_id
        self.target, self.environment, self.validate = terms.target, terms.environment, terms.validate
        self.dispatcher = dispatcher
        self.live: dict[str, LiveCall] = {}
        self._terms = terms
        self._sweeper = sweeper
        self._forwarder = Forwarder(terms, outbox, sweeper)
        self._runner = runner
        self._suspects = Suspects(outbox, terms.keys.begun(terms.process_id))
        self._metrics = terms.metrics
        self._loop = asyncio.get_running_loop()
        self._losses = Losses(sweeper, terms.metrics, self._loop.time)
        self._last_id = 0
        # Handlers that were cancelled and have not given up yet.
        self._stopping: set[asyncio.Task[None]] = set()
        self.recovery: Final = Recovery(
            outbox.link, self, owned_key=terms.keys.owned(terms.process_id), grace_s=terms.grace_s
        )
        self._claims: Final = Claims(terms, outbox, self.recovery, self._claimed)
        self._tally: Final = terms.metrics.tally
        self._committer: Final = Committer(outbox, self._tally, self)

    # What calls need (call.Office).

    def new_id(self) -> str:
        """Return a directive id that this process uses once."""
        self._last_id += 1
        return str(self._last_id)

    def commit(self, call: Call, commit: Commit, on_committed: OnCommitted) -> None:
        """Save a commit; those of one call in the order of these calls, over any number of lost connections."""
        live = self.live.get(call.sid)
        if live is None or live.call is not call:
            self._loop.call_soon(on_committed, call.over or CallGone(call.sid))
            return
        self._committer.commit(live, commit, on_committed)

    @property
    def is_busy(self) -> bool:
        """True while a handler runs, or one that was cancelled has not given up yet."""
        return bool(self._stopping) or any(live.task for live in self.live.values())

    # What arrives.

    def receive(self, delivery: Delivery) -> None:
        """Take in one envelope from a stream."""
        self._apply(self.dispatcher.receive(delivery, self._loop.time()))

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ready(call_sid):
                    self._wake(call_sid)
                case Claim(call_sid):
                    self._claims.claim(call_sid, is_first=not self.live)
                case Settle(delivery, reason):
                    self._metrics.skipped.labels(reason).inc()
                    self._sweeper.settle(delivery)
                case Forward(worker_id, delivery, app):
                    self._forwarder.forward(worker_id, delivery, app)
                case Wait(call_sid, at_s):
                    self._wait(call_sid, at_s)
                case Overhear(delivery):
                    self._overhear(delivery.envelope)
                case Shed():
                    self._losses.let_go(effect)
                case other:
                    assert_never(other)

    def _overhear(self, envelope: Envelope) -> None:
        live = self.live.get(envelope.call_sid)
        if live and envelope.kind == TRANSFERRED:
            self._transferred(live, orjson.loads(envelope.body))
        elif live:
            if envelope.kind == DETACHED:
                # Not in its turn, which may be behind a handler that waits for jambonz.
                self.recovery.without_sockets(live)
            self._runner.overhear(live.call, envelope)

    def _claimed(self, call_sid: str, answer: ClaimAnswer) -> None:
        match answer:
            case Claimed(fence, record):
                self._begin(call_sid, fence, record)
                return
            case OwnedBy(owner):
                self._apply(self.dispatcher.is_elsewhere(call_sid, owner))
            case OtherApp(app):
                self._apply(self.dispatcher.is_foreign(call_sid, app))
            case Gone():
                self._apply(self.dispatcher.gone(call_sid))
            case other:
                assert_never(other)
        self._terms.on_room()

    def _begin(self, call_sid: str, fence: int, record: CallRecord) -> None:
        claimed = ClaimedCall.of(fence, record)
        ownership = Ownership(CallKeys.of(self._terms.keys, call_sid), self.process_id, fence, self._terms.call_ttl_ms)
        live = self.live[call_sid] = LiveCall(Call(call_sid, self, claimed), ownership)
        live.committed.update(record.committed)
        live.is_inherited = claimed.has_begun
        if not record.live:
            self.recovery.without_sockets(live)
        self._metrics.calls.set(len(self.live))
        live.call.timers.arm()
        if consented_app(live.call.state, time.time_ns() // 1_000_000):
            self.expect_transfer(live.call)
        self._apply(self.dispatcher.claimed(call_sid, record.committed, self._loop.time()))

    # Running events.

    def _wake(self, call_sid: str) -> None:
        live = self.live.get(call_sid)
        if live and live.task is None:
            work = self._run(live)
            task = started(work, self._loop, call_sid)
            if not task.done():
                live.task = task

    def _wait(self, call_sid: str, at_s: float) -> None:
        live = self.live.get(call_sid)
        if live:
            live.wake_at(at_s, self._loop, self._waited)

    def _waited(self, live: LiveCall) -> None:
        live.timer = None
        self._wake(live.call.sid)

    async def _run(self, live: LiveCall) -> None:
        """Run the events of a call until none is ready. Cancelled when the call is lost or given up."""
        mailbox = self.dispatcher.mailbox(live.call.sid)
        if mailbox is None:
            return
        gaps, in_turn = mailbox.gaps, 0
        try:
            # Of a call that is lost meanwhile, the mailbox is empty.
            while (delivery := mailbox.take(now_s := self._loop.time())) is not None:
                live.delivery = delivery
                await self._handle(live, delivery, now_s)
                live.delivery = None
                mailbox.finish()
                in_turn += 1
                if in_turn % _IN_TURN == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if live.call.over is None:
                raise
        finally:
            live.task = None
        if mailbox.gaps > gaps:
            self._metrics.gaps.inc(mailbox.gaps - gaps)
        at_s = mailbox.wake_at_s()
        if at_s is not None and live.call.over is None:
            self._wait(live.call.sid, at_s)

    async def _handle(self, live: LiveCall, delivery: Delivery, began_s: float) -> None:
        envelope, call = delivery.envelope, live.call
        self._tally.event(envelope.kind)
        on_committed = _Receipt(self, delivery)
        try:
            # Behind the final status nobody reconnects. The gateway of the last socket may not have heard that status.
            if envelope.kind == ENDED or (envelope.kind == DETACHED and call.status in FINAL_STATUSES):
                await self._end(live, delivery)
                return
            if envelope.kind == DETACHED:
                # It has come before the call was claimed.
                if not live.is_detached:
                    self.recovery.without_sockets(live)
                self._commit_bare(call, envelope, on_committed)
                return
            if envelope.kind == TRANSFERRED:
                # An old one; what is true was found out when it arrived.
                self._sweeper.settle(delivery)
                return
            if envelope.kind == TAKEOVER:
                if not live.is_inherited:
                    self._sweeper.settle(delivery)
                    return
                live.is_inherited = False
            event = event_of(envelope)
            if envelope.is_quarantined:
                self._runner.quarantined(call, event, on_committed)
                return
            if envelope.deaths:
                run = self._runner.takeover if envelope.kind == TAKEOVER else self._runner.again
                await self._suspects.run(envelope, partial(run, call, event), on_committed)
            elif envelope.kind == TAKEOVER:
                await self._runner.takeover(call, event, on_committed)
            else:
                await self._runner.handle(call, event, on_committed)
        except BadFrame as error:
            self._metrics.skipped.labels("undecodable").inc()
            log.warning("undecodable event: %s", error, extra={"call_sid": call.sid, "kind": envelope.kind})
            self._commit_bare(call, envelope, on_committed)
        except Exception:
            # Our own fault: the event would block its call for ever, so it counts as handled.
            self._metrics.failures.inc()
            log.exception("event could not be handled", extra={"call_sid": call.sid, "kind": envelope.kind})
            self._commit_bare(call, envelope, on_committed)
        self._tally.handler(self._loop.time() - began_s)

    def _commit_bare(self, call: Call, envelope: Envelope, on_committed: OnCommitted) -> None:
        event = bare_event_of(envelope)
        acks = [bare_ack(event, (), self.new_id)] if event.is_hook else []
        call.ledger.commit_event(call, event, acks, [], on_committed)

    def handled(self, delivery: Delivery, error: ClusterError | None) -> None:
        """What an event did is in Redis, or never will be by us."""
        if error is not None and isinstance(error, CallLost):
            self._forwarder.forward(error.owner, delivery)
        else:
            self._sweeper.settle(delivery)

    # Ends.

    async def _end(self, live: LiveCall, delivery: Delivery) -> None:
        """Run what the application does at the end, then remove the call from Redis."""
        call = live.call
        if await self._claims.has_sockets(live.ownership):
            self._lives_on(live, delivery)
            return
        call.cancel_works()
        live.has_ended = True
        await self._runner.end(call, bare_event_of(delivery.envelope))
        match await self._claims.end(live.ownership):
            case Ended() | Gone():
                self._sweeper.settle(delivery)
                self.over(live)
            case Fenced(owner):
                self.lose(live, owner)
                self._forwarder.forward(owner, delivery)
            case StillLive():
                self._lives_on(live, delivery)
            case other:
                assert_never(other)

    def _lives_on(self, live: LiveCall, delivery: Delivery) -> None:
        """Go on with a call to which a Connection has come back; its gateway tells again when it has left."""
        live.has_ended = False
        self.recovery.without_sockets(live)
        self._sweeper.settle(delivery)

    def end(self, live: LiveCall) -> None:
        """Run the end of a call behind what waits in its mailbox, as if its gateway had told it."""
        self.tell(notice(live.call.sid, ENDED, 0))

    def tell(self, envelope: Envelope) -> None:
        """Put an event of ours behind what waits in its call's mailbox."""
        # It came over no stream, so nothing is to be deleted.
        self.receive(Delivery(envelope, Entry(Source.INBOX, b"", 1), is_settled=True))

    def misses(self, live: LiveCall) -> bool:
        """See ``Recovery.misses``."""
        return self.recovery.misses(live)

    def vanished(self, live: LiveCall) -> None:
        """Let go of a call that Redis does not have any more.

        If it was left by jambonz, its grace time has run out behind a handler, and the application is told of the end.
        """
        task = live.task
        self.over(live)
        if live.is_detached and not live.has_ended:
            live.has_ended = True
            farewell = self._loop.create_task(self._farewell(live, task), name=live.call.sid)
            self._stopping.add(farewell)
            farewell.add_done_callback(self._stopping.discard)

    async def _farewell(self, live: LiveCall, task: "asyncio.Task[None] | None") -> None:
        if task:
            # The handler that was running may clean up first.
            await asyncio.wait([task])
        await self._runner.end(live.call, bare_event_of(notice(live.call.sid, ENDED, 0)))

    def over(self, live: LiveCall) -> None:
        """The call has ended: nothing of it stays here."""
        if self._release(live, CallGone(live.call.sid)):
            self._apply(self.dispatcher.gone(live.call.sid))
            self._terms.on_room()

    def expect_transfer(self, call: Call) -> None:
        """Find out, when the consent has ended, whether another app has the call, unless we are told at once."""
        self.recovery.look_after(call.sid, CONSENT_S)

    def _transferred(self, live: LiveCall, told: dict[str, Any]) -> None:
        """Let go of a call that another app has taken, unless it has come back since."""
        app, sid = told["app"], live.call.sid
        if live.ownership.fence < told["fence"] and self._release(live, CallTransferred(sid, "", app), app):
            log.info("call transferred to another app", extra={"call_sid": sid, "app": app})
            self._apply(self.dispatcher.transferred(sid, app))
            self._terms.on_room()

    def lose(self, live: LiveCall, owner: str) -> None:
        """Let go of a call that another worker owns; it gets the events that wait."""
        sid, app = live.call.sid, consented_app(live.call.state, time.time_ns() // 1_000_000)
        # With a consent that is how we learn that it was used, when the gateway's word is late.
        if self._release(live, CallTransferred(sid, owner, app) if app else CallLost(sid, owner)):
            level, text = (logging.INFO, "call transferred") if app else (logging.WARNING, "call lost")
            log.log(level, "%s to another worker", text, extra={"call_sid": sid, "owner": owner, "app": app})
            self._apply(self.dispatcher.lost(sid, owner))
            self._terms.on_room()

    def _release(self, live: LiveCall, reason: ClusterError, app: str = "", *, disowns: bool = True) -> bool:
        sid = live.call.sid
        if self.live.get(sid) is not live:
            return False
        del self.live[sid]
        self._metrics.calls.set(len(self.live))
        live.call.release(reason)
        if live.timer:
            live.timer.cancel()
        if disowns:
            self._claims.disown(sid)
        if live.task and live.task is not asyncio.current_task():
            self._stopping.add(live.task)
            live.task.add_done_callback(self._stopping.discard)
            live.task.cancel()
            if isinstance(reason, CallLost) and live.delivery:
                self._forwarder.forward(reason.owner, live.delivery, app)
            elif live.delivery:
                self._sweeper.settle(live.delivery)
        return True

    def give_up(self, call_sid: str) -> None:
        """Let go of a call: nobody owns it then, and its events that are not done go to dispatch, in order."""
        live = self.live.get(call_sid)
        if live is None:
            return
        self._claims.orphan(call_sid, self.dispatcher.has)
        if self._release(live, CallLost(call_sid, ""), disowns=False):
            self._apply(self.dispatcher.lost(call_sid, ""))
