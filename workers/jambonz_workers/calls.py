"""Calls: live calls of all workers, from any process that reaches Redis."""

import asyncio
import itertools
import os
import secrets
import socket
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import orjson

from jambonz_shared.directive import Close, Command, Directive, encode_batch
from jambonz_shared.errors import CallGone
from jambonz_shared.keys import Keys
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.redis import script
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import CallKeys, CallRecord, Full, Gone, Queued, call_record, send_args, send_reply
from jambonz_shared.runtime.patience import end_tasks
from jambonz_workers.capabilities import Target, checked_target
from jambonz_workers.controls import NORMAL_CLOSURE, Controls, Sending
from jambonz_workers.facts import decode_facts
from jambonz_workers.originate import Account, create_call
from jambonz_workers.state import RESERVED

# A gateway answers within a millisecond; longer means that its socket is down and jambonz may come back.
OUTCOME_WAIT_S: Final = 2.0

# A Redis that fails over is back within seconds; a script that waits longer looks as if it hung.
CONNECT_WAIT_S: Final = 10.0

# As WorkerSettings.call_ttl_s; only renewed here, never shortened by a live call's own worker.
_CALL_TTL_MS: Final = 4 * 3600 * 1000

_SCAN_COUNT: Final = 500


class Calls:
    """Finds live calls and sends them commands. Make one with ``Calls.connect``; in a worker use ``app.calls``.

    Attributes:
        target: The line of jambonz that commands are checked against; None: whatever comes.
    """

    def __init__(
        self, link: Link, channels: Channels, process_id: str, keys: Keys, *, outcome_wait_s: float = OUTCOME_WAIT_S
    ) -> None:
        self.process_id = process_id
        self.keys = keys
        self._link = link
        self._outcome_wait_s = outcome_wait_s
        self._loop = asyncio.get_running_loop()
        # So that a worker's own directive ids, plain numbers, are never mistaken for ours.
        self._ids = itertools.count(1)
        self._awaited: dict[str, asyncio.Future[Outcome]] = {}
        self._channels = channels
        self.target: Target | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        redis_url: str,
        *,
        key_prefix: str = "jc:",
        outcome_wait_s: float = OUTCOME_WAIT_S,
        connect_wait_s: float = CONNECT_WAIT_S,
        target: Target | None = None,
    ) -> AsyncIterator["Calls"]:
        """Open the connections to Redis for the time of the block.

        Raises:
            TimeoutError: If Redis does not answer within ``connect_wait_s``.
        """
        backend = backend_of(redis_url)
        process_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        keys = Keys(key_prefix)
        link = backend.link("calls")
        channels = backend.channels(link, keys.canary(process_id), name="calls-channels")
        calls = cls(link, channels, process_id, keys, outcome_wait_s=outcome_wait_s)
        calls.target = checked_target(target)
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(channels.run())]
        try:
            try:
                async with asyncio.timeout(connect_wait_s):
                    await link.wait_up()
                    await calls.listen()
            except TimeoutError:
                name = backend.endpoint("").name
                raise TimeoutError(f"no answer from Redis at {name} within {connect_wait_s:g} s") from None
            yield calls
        finally:
            await end_tasks(tasks)

    async def get(self, call_sid: str) -> "RemoteCall":
        """Return a live call.

        Raises:
            CallGone: If it has ended or never was.
        """
        return RemoteCall(call_sid, self, await self.record(call_sid))

    async def create(self, account: Account, from_: str, to: Mapping[str, object], **options: object) -> str:
        """Start an outbound call by jambonz's REST interface; return its ``call_sid`` when the INVITE is out.

        The call then comes to the app like any other: first ``call:status`` (``trying``, ``ringing``), and at the
        answer ``session:new`` with direction ``outbound``; if nobody answers, a final ``call:status`` instead.

        Args:
            account: Where, and with which key.
            from_: Calling number.
            to: Whom, such as ``{"type": "phone", "number": "+15550001"}``.
            options: More of createCall: ``application_sid``, or ``call_hook`` and ``call_status_hook``; ``tag``, which
                handlers find as ``event.customer_data``; ``timeout``, ``headers``, ``amd``.

        Raises:
            TypeError: If ``account`` or ``to`` is something else; nothing was sent.
            NotCreated: If jambonz refuses it or cannot be reached.
            ImportError: If the extra ``sdk`` is not installed.
        """
        return await create_call(account, from_, to, options)

    async def exists(self, call_sid: str) -> bool:
        """True while the call lives."""
        return bool(await self._ask(b"EXISTS", self.keys.call(call_sid)))

    async def list(self, app: str | None = None) -> Sequence["RemoteCall"]:
        """Return all live calls, or those of one app; calls that begin or end meanwhile may be missing."""
        found = {name: None for node in self._link.nodes for name in await self._names(node)}
        replies = await asyncio.gather(*(self._ask(b"HGETALL", name) for name in found))
        first, last = self.keys.call("*").split("*")
        remotes = [
            RemoteCall(name.removeprefix(first).removesuffix(last), self, call_record(reply))
            for name, reply in zip(found, replies, strict=True)
            if reply
        ]
        return [remote for remote in remotes if app is None or remote.app == app]

    async def _names(self, node: Link) -> dict[str, None]:
        """Return the keys of the calls on one server, each once."""
        pattern = self.keys.call("*").replace("{", "\\{").replace("}", "\\}")
        found: dict[str, None] = {}
        cursor: Any = b"0"
        while True:
            reply: Any = await node.call(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN_COUNT)
            cursor, names = reply
            found.update(dict.fromkeys(name.decode() for name in names))
            if cursor == b"0":
                return found

    async def record(self, call_sid: str) -> CallRecord:
        """Return what Redis knows of a call.

        Raises:
            CallGone: If it has ended or never was.
        """
        reply = await self._ask(b"HGETALL", self.keys.call(call_sid))
        if not reply:
            raise CallGone(call_sid)
        return call_record(reply)

    async def listen(self) -> None:
        """Hear of Outcomes from now on; returns when Redis has confirmed it."""
        ready = asyncio.Event()
        self._channels.subscribe(self.keys.outcomes(self.process_id).encode(), self.on_outcome, ready.set)
        await ready.wait()

    def on_outcome(self, raw: bytes) -> bool:
        """Take in an Outcome; False if nobody here waits for it.

        Raises:
            BadFormat: If it is none.
        """
        outcome = Outcome.decode(raw)
        future = self._awaited.get(outcome.directive_id)
        if future is None or future.done():
            return False
        future.set_result(outcome)
        return True

    def new_id(self) -> str:
        """Return a directive id that is used once."""
        return f"c{next(self._ids)}"

    def deliver(self, call_sid: str, directives: Sequence[Directive]) -> "asyncio.Task[Outcome]":
        """Send Directives to a call; the task gives the Outcome of the last, or the first that was not sent."""
        futures: Sequence[asyncio.Future[Outcome]] = [self._loop.create_future() for _ in directives]
        for directive, future in zip(directives, futures, strict=True):
            self._awaited[directive.id] = future
        keys, args = send_args(
            CallKeys.of(self.keys, call_sid), _CALL_TTL_MS, encode_batch(directives), is_young=self._link.is_young
        )
        reply = self._link.script_call(script.SEND, keys, args)
        return self._loop.create_task(self._outcome(call_sid, directives, futures, reply))

    async def _ask(self, *command: str | bytes | int) -> Any:
        return await self._link.call(*command)

    async def _outcome(
        self,
        call_sid: str,
        directives: Sequence[Directive],
        futures: Sequence[asyncio.Future[Outcome]],
        reply: "asyncio.Future[Any]",
    ) -> Outcome:
        try:
            match send_reply(await reply):
                case Gone():
                    raise CallGone(call_sid)
                case Full(waiting):
                    reason = f"{waiting} batches wait for the call's websocket"
                    return Outcome(directives[0].id, OutcomeKind.REFUSED, reason)
                case Queued():
                    pass
            await asyncio.wait(futures, timeout=self._outcome_wait_s)
            for directive, future in zip(directives, futures, strict=True):
                outcome = future.result() if future.done() else Outcome(directive.id, OutcomeKind.QUEUED)
                if outcome.kind is OutcomeKind.GONE:
                    raise CallGone(call_sid)
                if outcome.kind is not OutcomeKind.SENT:
                    return outcome
            return outcome
        finally:
            for directive in directives:
                self._awaited.pop(directive.id, None)


class RemoteCall(Controls):
    """A call seen from outside its handlers. Its commands go out at once.

    Awaiting one gives ``sent``, ``refused`` with the reason, or ``queued`` when no gateway has answered in time
    (the call's websocket is down: the command goes out when jambonz reconnects). It raises ``CallGone`` when
    the call is over, and ``LinkDown`` when Redis is away (``sent`` tells whether it may have gone out).

    Attributes:
        sid: jambonz's ``call_sid``.
        app: Name of its app.
        path: Path its newest websocket was opened at.
        status: Call status when it was looked up.
        owner: Worker that owned it then; empty if none did.
    """

    __slots__ = ("_calls", "_facts", "app", "owner", "path", "status")

    def __init__(self, sid: str, calls: Calls, record: CallRecord) -> None:
        super().__init__(sid)
        self._calls = calls
        self.app = record.app
        self.path = record.path
        self.status = record.status
        self.owner = record.owner
        self._facts = decode_facts(record.facts)

    def __repr__(self) -> str:
        return f"RemoteCall({self.sid!r}, app={self.app!r}, status={self.status!r})"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What jambonz told when the call began, as it was when the call was looked up."""
        return MappingProxyType(self._facts)

    @property
    def target(self) -> Target | None:
        """The line of jambonz that commands are checked against."""
        return self._calls.target

    async def state(self) -> dict[str, Any]:
        """Return a copy of the call state as it is now; changing it changes nothing.

        Raises:
            CallGone: If the call has ended.
        """
        record = await self._calls.record(self.sid)
        return {name: orjson.loads(json) for name, json in record.state.items() if not name.startswith(RESERVED)}

    def close(self, code: int = NORMAL_CLOSURE) -> Sending:
        """Close the call's newest websocket; jambonz reconnects unless the code is 1000."""
        return self._act([Close(self._calls.new_id(), code, self._calls.process_id)])

    def _send(self, frames: Sequence[bytes]) -> Sending:
        return self._act([Command(self._calls.new_id(), frame, self._calls.process_id) for frame in frames])

    def _act(self, directives: list[Directive]) -> Sending:
        return _Delivery(self._calls.deliver(self.sid, directives))


class _Delivery:
    """A command under way; it goes on when nobody awaits it."""

    __slots__ = ("_task",)

    def __init__(self, task: "asyncio.Task[Outcome]") -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, Outcome]:
        # Cancelling who waits must not make the command's fate unknown to the task that follows it.
        return (yield from asyncio.shield(self._task).__await__())
