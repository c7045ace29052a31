"""Plays the gateway for a worker: real Redis, hand-written envelopes, the scripts of architecture.md section 6."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from jambonz_shared.directive import (
    Ack,
    BatchSent,
    CallEnded,
    ChannelMessage,
    Command,
    Directive,
    OwnerChanged,
    decode_batch,
    decode_channel_message,
)
from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import (
    Attach,
    Attached,
    CallKeys,
    attach_args,
    attach_reply,
    batch_field,
    detach_args,
)
from tests.conditions import until

GATEWAY_ID = "gateway-double"
_numbers = itertools.count(1)


class GatewayDouble:
    """One gateway. Realistic in what it writes to Redis; it has no websockets, deadlines or limits."""

    def __init__(self, redis: Redis, app: str = "default") -> None:
        self.redis = redis
        self.app = app
        self.keys = Keys()
        self._lines: list[Line] = []
        # What is told of each Directive whose sender wants to know; None tells nothing.
        self.outcome: Callable[[Directive], Outcome | None] = lambda it: Outcome(it.id, OutcomeKind.SENT)

    async def open(self, call_sid: str = "", *, path: str = "/ivr") -> "Line":
        """Attach a new Connection of a call."""
        line = Line(self, call_sid or f"call-{next(_numbers)}")
        self._lines.append(line)
        await line.attach(path)
        return line

    async def close(self) -> None:
        """Stop listening to calls that did not end."""
        for line in self._lines:
            await line.leave()

    async def owned_by(self, worker_id: str) -> set[str]:
        return {
            sid.decode() if isinstance(sid, bytes) else sid
            for sid in await self.redis.smembers(self.keys.owned(worker_id))
        }

    async def entries(self) -> int:
        """How many entries wait in dispatch or in any inbox."""
        count = int(await self.redis.xlen(self.keys.dispatch(self.app)))
        async for key in self.redis.scan_iter(match="jc:inbox:*"):
            count += int(await self.redis.xlen(key))
        return count

    async def nothing_waits(self) -> None:
        """Wait until every entry is deleted, which is done many at a time."""

        async def is_empty() -> bool:
            return await self.entries() == 0

        await until(is_empty, "all entries are deleted")


@dataclass(eq=False)
class Line:
    """One Connection of a call, and what the worker made of it."""

    gateway: GatewayDouble
    sid: str
    epoch: int = 0
    n: int = 0
    owner: str = ""
    fence: int = 0
    is_ended: bool = False
    batches: list[list[Directive]] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    log: list[ChannelMessage] = field(default_factory=list)

    @property
    def directives(self) -> list[Directive]:
        return [directive for batch in self.batches for directive in batch]

    @property
    def acks(self) -> dict[str, Any]:
        """Verbs by msgid."""
        return {it.msgid: orjson.loads(it.data) for it in self.directives if isinstance(it, Ack)}

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Command frames in order."""
        return [orjson.loads(it.frame) for it in self.directives if isinstance(it, Command)]

    async def attach(self, path: str) -> None:
        redis, keys = self.gateway.redis, CallKeys.of(self.gateway.keys, self.sid)
        self._pubsub = redis.pubsub()
        await self._pubsub.subscribe(keys.chan)
        self._reader = asyncio.create_task(self._listen())
        names, args = attach_args(keys, Attach(GATEWAY_ID, self.gateway.app, path, "main", 60_000))
        reply = attach_reply(await redis.eval(script.ATTACH.source.decode(), len(names), *names, *args))
        assert isinstance(reply, Attached)
        self.epoch, self.owner, self.fence = reply.epoch, reply.owner, reply.fence

    async def send(self, kind: str, data: dict[str, Any] | None = None, *, hook: str = "", n: int = 0) -> str:
        """Publish one event; returns its msgid."""
        msgid = f"m{next(_numbers)}"
        body: dict[str, Any] = {"type": kind, "msgid": msgid, "call_sid": self.sid}
        if hook:
            body["hook"] = hook
        body["data"] = {"call_sid": self.sid, **(data or {})}
        await self.publish(kind, orjson.dumps(body), msgid=msgid, n=n)
        return msgid

    async def publish(self, kind: str, body: bytes = b"{}", *, msgid: str = "", n: int = 0) -> None:
        """Number an envelope and write it to the owner's inbox, else to dispatch."""
        if not n:
            self.n += 1
        raw = self.envelope(kind, body, msgid, n or self.n)
        redis, keys = self.gateway.redis, self.gateway.keys
        if self.owner and await redis.xadd(keys.inbox(self.owner), {"e": raw}, nomkstream=True):
            return
        await redis.xadd(keys.dispatch(self.gateway.app), {"e": raw})

    def envelope(self, kind: str, body: bytes, msgid: str, n: int) -> bytes:
        is_acked = kind in {"session:reconnect", "session:adulting"}
        return Envelope(self.sid, self.epoch, n, kind, msgid, 0, GATEWAY_ID, is_acked, body).encode()

    async def start(self, data: dict[str, Any] | None = None) -> Any:
        """Send an inbound session:new and return the verbs of its ack."""
        return await self.ask("session:new", {"direction": "inbound", "from": "+1", "to": "+2", **(data or {})})

    async def ask(self, kind: str, data: dict[str, Any] | None = None, *, hook: str = "") -> Any:
        """Send a hook and return the verbs of its ack."""
        return await self.answer(await self.send(kind, data, hook=hook))

    async def hook(self, hook: str, **data: Any) -> Any:
        return await self.ask("verb:hook", data, hook=hook)

    async def answer(self, msgid: str) -> Any:
        await until(lambda: self._reader.done() or msgid in self.acks, f"an ack of {msgid}")
        if self._reader.done():
            # It hears nothing any more; the reason is an exception.
            self._reader.result()
        return self.acks[msgid]

    async def wait(self, condition: Callable[[], bool], description: str) -> None:
        await until(condition, description)

    async def end(self) -> None:
        """Hang up: detach, tell the owner, and wait until nothing of the call is left."""
        await self.detach()
        await self.publish("cluster:ended")
        await until(lambda: self.is_ended, f"the end of {self.sid}")
        await until(self._is_let_go, f"nobody owns {self.sid} any more")
        await self.leave()

    async def _is_let_go(self) -> bool:
        # The channel tells of the end before the owner hears of it: they come over two connections.
        return self.sid not in await self.gateway.owned_by(self.owner)

    async def detach(self) -> None:
        keys, redis = CallKeys.of(self.gateway.keys, self.sid), self.gateway.redis
        names, args = detach_args(keys, self.epoch, 60_000)
        await redis.eval(script.DETACH.source.decode(), len(names), *names, *args)

    async def forget(self) -> None:
        """Remove the call from Redis, as its TTL would."""
        keys = CallKeys.of(self.gateway.keys, self.sid)
        await self.gateway.redis.delete(keys.call)
        await self.leave()

    async def leave(self) -> None:
        """Stop listening; may be repeated."""
        # redis-py sends through ``asyncio.wait_for``, which swallows some cancellations in Python 3.11.
        while not self._reader.done():
            self._reader.cancel()
            await asyncio.wait([self._reader], timeout=0.05)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _listen(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                await self._heard(decode_channel_message(message["data"]))

    async def _heard(self, message: ChannelMessage) -> None:
        self.log.append(message)
        match message:
            case BatchSent(seq, raw):
                self.seqs.append(seq)
                self.batches.append(decode_batch(raw))
                redis, keys = self.gateway.redis, self.gateway.keys
                await redis.hdel(keys.call(self.sid), batch_field(seq))
                for directive in self.batches[-1]:
                    if directive.reply_to and (outcome := self.gateway.outcome(directive)):
                        await redis.publish(keys.outcomes(directive.reply_to), outcome.encode())
            case OwnerChanged(fence, worker_id) if fence > self.fence:
                self.fence, self.owner = fence, worker_id
            case CallEnded():
                self.is_ended = True
            case _:
                pass


__all__ = ["GATEWAY_ID", "GROUP", "GatewayDouble", "Line"]
