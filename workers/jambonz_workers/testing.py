"""AppClient: plays one call against an app in a unit test, without Redis, gateway or sockets."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from jambonz_shared.directive import Ack, Close, Command
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import CallGone
from jambonz_shared.kinds import ENDED
from jambonz_workers.app import App
from jambonz_workers.call import Call
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.effects import Commit
from jambonz_workers.environment import Declared
from jambonz_workers.event import Event
from jambonz_workers.handling import OnCommitted
from jambonz_workers.incoming import event_of
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.runner import Runner, overheard_by
from jambonz_workers.state import CallState
from jambonz_workers.threads import Threads
from jambonz_workers.timers import FIELD, envelope_of
from jambonz_workers.verbs import Verbs
from jambonz_workers.work import Work, Works


@dataclass(frozen=True, slots=True)
class Reaction:
    """What the app did with one event.

    Attributes:
        verbs: The ack's verbs; None for a Notice, which has no ack.
        commands: Command frames as jambonz would get them, in order.
    """

    verbs: list[dict[str, Any]] | None = None
    commands: list[dict[str, Any]] = field(default_factory=list)


class AppClient:
    """One call of an app. Use as ``async with AppClient(app) as client``, so that the app's lifespan is run.

    Events go through the same routing, effects and state as in a worker; all values pass through JSON on the way.
    What a handler raises, and ``on_error`` does not answer, is raised by the method that sent the event; what
    background work or a timer raises, by ``settle``, or else at the end of the block. ``raises=False`` leaves it at
    the log and the answer that jambonz would get. Text of ``call.tts_stream()`` is taken at once; with
    ``takes_text=False`` the test sends each ``tts:tokens-result`` itself.

    Attributes:
        call: The call, as handlers see it.
        commands: All command frames so far, those of background work too.
        closed: Close codes the app has asked for.
    """

    __test__ = False

    def __init__(
        self,
        app: App,
        *,
        path: str = "/",
        call_sid: str = "test-call",
        raises: bool = True,
        takes_text: bool = True,
    ) -> None:
        if not isinstance(app, App):
            raise TypeError(f"expected an App, got {type(app).__name__}")
        self.app = app
        self.process_id = "test"
        self.target = app.target
        self.environment: Declared = app.env
        self.validate: Callable[[Verbs], None] | None = app.validate if app.validates(default=False) else None
        self.commands: list[dict[str, Any]] = []
        self.closed: list[int] = []
        self.call = Call(call_sid, self, ClaimedCall(fence=1, app=app.name, path=path))
        self._raises, self._takes_text = raises, takes_text
        # By msgid of the event, or a number of their own.
        self._failures: dict[str, BaseException] = {}
        self.call.works = _WatchedWorks(self.call, self._work_failed)
        self._acks: dict[str, list[dict[str, Any]]] = {}
        self._stored: dict[str, bytes] = {}
        self._threads = Threads(1)
        self._runner = Runner(app, WorkerMetrics(), self._threads)
        self._runner.on_failure = self._handler_failed
        self._ids = itertools.count(1)
        self._n = 0
        self._told: list[asyncio.Future[Any]] = []
        # Timers and what the test sends take turns, as in a worker.
        self._handling = 0
        self._turn = asyncio.Condition()
        self._is_ringing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self.app.lifespan:
            await self._stack.enter_async_context(self.app.lifespan(self.app))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.call.release(CallGone(self.call.sid))
        self._threads.stop()
        if self.app.toolbox.in_thread == self._threads.run:
            # Other clients of the app may still be there.
            self.app.toolbox.in_thread = asyncio.to_thread
        await self._stack.aclose()
        if error[0] is None:
            self._raise_any()

    @property
    def state(self) -> dict[str, Any]:
        """The call state as it is saved."""
        return CallState(self._stored).snapshot()

    async def session_new(
        self, path: str | None = None, data: Mapping[str, Any] | None = None, **more: Any
    ) -> Reaction:
        """Begin the call as an inbound one; ``data`` and ``more`` are added to what jambonz tells."""
        if path is not None:
            self.call.path = path
        facts = {"direction": "inbound", "from": "+15550001", "to": "+15550002", "call_status": "trying"}
        return await self.send("session:new", {**facts, **(data or {}), **more})

    async def hook(self, hook: str, data: Mapping[str, Any] | None = None, **more: Any) -> Reaction:
        """Let jambonz ask an action hook."""
        return await self.send("verb:hook", {**(data or {}), **more}, hook=hook)

    async def send(self, kind: str, data: Mapping[str, Any] | None = None, *, hook: str = "") -> Reaction:
        """Let jambonz send any message."""
        before = len(self.commands)
        msgid = await self._receive(kind, data or {}, hook)
        self._raise_of(msgid)
        return Reaction(self._acks.get(msgid), self.commands[before:])

    async def _receive(self, kind: str, data: Mapping[str, Any], hook: str = "") -> str:
        """Handle a message; return its msgid."""
        self._n += 1
        msgid = f"m{self._n}"
        sent = {"call_sid": self.call.sid, **data}
        message = {"type": kind, "msgid": msgid, "call_sid": self.call.sid, "hook": hook, "data": sent}
        body = orjson.dumps(message)
        envelope = Envelope(self.call.sid, 1, self._n, kind, msgid, 0, "test", is_acked=False, body=body)
        if kind in overheard_by(self.app):
            self._runner.overhear(self.call, envelope)
        await self._handle(event_of(envelope))
        return msgid

    async def fire(self, hook: str) -> Reaction:
        """Let the first timer of this path ring now.

        Raises:
            LookupError: If there is none.
        """
        timers = self.call.state.own(FIELD) or {}
        timer_id = next((it for it, (_, path, _) in timers.items() if path == hook), None)
        if timer_id is None:
            raise LookupError(f"no timer of {hook!r} is set, only of {sorted(it[1] for it in timers.values())}")
        before = len(self.commands)
        await self._handle(event_of(envelope_of(self.call.sid, timer_id, hook, timers[timer_id][2])))
        self._raise_of(timer_id)
        return Reaction(None, self.commands[before:])

    async def settle(self) -> list[dict[str, Any]]:
        """Wait until all background work has ended; return all commands so far."""
        while self._told or self.call.works.running:
            told, self._told = self._told, []
            await asyncio.gather(*told, *(work.wait() for work in self.call.works.running))
        self._raise_any()
        return self.commands

    async def end(self) -> None:
        """End the call: cancel its background work and run the app's end handler."""
        self.call.release(CallGone(self.call.sid))
        await self._runner.end(self.call, Event(ENDED, self.call.sid, {}))
        self._raise_of("")

    def _handler_failed(self, event: Event, error: Exception) -> None:
        # Of a handler and the error handler that fails on it, the first one is the cause.
        self._failures.setdefault(event.msgid, error)

    def _work_failed(self, error: BaseException) -> None:
        self._failures[f"work {len(self._failures)}"] = error

    def _raise_of(self, msgid: str) -> None:
        error = self._failures.pop(msgid, None)
        if error and self._raises:
            raise error

    def _raise_any(self) -> None:
        """Raise what failed first of all that nobody has heard of; the log has the others."""
        failures = list(self._failures.values())
        self._failures.clear()
        if failures and self._raises:
            raise failures[0]

    # What the call needs (call.Office).

    def new_id(self) -> str:
        """Return a directive id."""
        return str(next(self._ids))

    def expect_transfer(self, call: Call) -> None:
        """Nobody takes the call here."""

    def tell(self, envelope: Envelope) -> None:
        """Run an event of ours, as soon as the test waits for something."""
        self._told.append(asyncio.ensure_future(self._ring(event_of(envelope))))

    def _take_text(self, frame: Mapping[str, Any]) -> None:
        """Say that jambonz has taken the text of a command, as it does at once while its buffer has room."""
        if self._takes_text and frame["command"] == "tts:tokens" and "id" in frame["data"]:
            taken = {"id": frame["data"]["id"], "status": "ok"}
            self._told.append(asyncio.ensure_future(self._receive("tts:tokens-result", taken)))

    async def _handle(self, event: Event) -> None:
        """Handle what the test has sent, behind a timer that rings; not behind what the test is sending itself."""
        async with self._turn:
            # What a handler overhears may be what it is waiting for.
            await self._turn.wait_for(lambda: not self._is_ringing or event.kind in overheard_by(self.app))
            self._handling += 1
        try:
            await self._runner.handle(self.call, event, _ignore)
        finally:
            async with self._turn:
                self._handling -= 1
                self._turn.notify_all()

    async def _ring(self, event: Event) -> None:
        async with self._turn:
            await self._turn.wait_for(lambda: not self._handling and not self._is_ringing)
            self._is_ringing = True
        try:
            await self._runner.handle(self.call, event, _ignore)
        finally:
            async with self._turn:
                self._is_ringing = False
                self._turn.notify_all()

    def commit(self, call: Call, commit: Commit, on_committed: OnCommitted) -> None:
        """Keep what a worker would save and send."""
        if call.over:
            on_committed(call.over)
            return
        for name, json in commit.state:
            if json:
                self._stored[name] = json
            else:
                self._stored.pop(name, None)
        for directive in commit.directives:
            match directive:
                case Ack(msgid=msgid, data=data):
                    self._acks[msgid] = orjson.loads(data or b"[]")
                case Command(frame=frame):
                    self.commands.append(orjson.loads(frame))
                    self._take_text(self.commands[-1])
                case Close(code=code):
                    self.closed.append(code)
        on_committed(None)


class _WatchedWorks(Works):
    """Background work whose failures somebody hears of."""

    def __init__(self, call: Call, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__(call.sid, call.save_work)
        self._on_failure = on_failure

    def _ended(self, work: Work) -> None:
        if work.error:
            self._on_failure(work.error)
        super()._ended(work)


def _ignore(_: object) -> None:
    """The test sees what was committed."""
