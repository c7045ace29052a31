"""A gateway in this process against a real Redis; the test plays jambonz with sockets and the worker with scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from jambonz_gateway.server import serve_until
from jambonz_shared.config import GatewaySettings
from jambonz_shared.directive import Ack, Command, Directive, encode_batch
from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.scripts import CallKeys
from jambonz_shared.runtime.signals import Shutdown
from jambonz_shared.wire import redirect_frame
from tests.conditions import LIMIT_S, until
from tests.ports import free_row

KEYS: Final = Keys()
WORKER: Final = "worker-1"
TTL_MS: Final = 60_000
DISPATCH: Final = KEYS.dispatch("default")
SAY: Final = b'[{"verb":"say","text":"hi"}]'
# Through a script: redis-py's dict of fields would keep one Envelope of an entry only.
_ENTRIES: Final = "return redis.call('XRANGE', KEYS[1], '-', '+')"


class RunningGateway:
    """A gateway that serves; ``drain`` asks it to go, leaving the block ends it in haste."""

    def __init__(self, redis_url: str, **changes: Any) -> None:
        plain = {"host": "127.0.0.1", "port": free_row(1), "internal_port": free_row(1), "drain_timeout_s": 0.0}
        self.settings: Final = GatewaySettings(redis_url=redis_url, **(plain | changes))
        self.shutdown: Final = Shutdown()
        self.done: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.settings.port}"

    async def is_open(self) -> bool:
        """Whether the websocket port is listened on."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.settings.port)
        except OSError:
            return False
        writer.close()
        return True

    async def request(self, text: str) -> bytes:
        """Send raw bytes to the websocket port and return all that comes until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.port)
        writer.write(text.replace("\n", "\r\n").encode())
        try:
            async with asyncio.timeout(LIMIT_S):
                return await reader.read()
        finally:
            writer.close()

    async def metric(self, name: str) -> float:
        """Return one line of /metrics."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.internal_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        assert lines, f"expected a metric {name!r}"
        return float(lines[0].rpartition(" ")[2])

    def drain(self) -> None:
        """Do as SIGTERM does."""
        self.shutdown.request()


@contextlib.asynccontextmanager
async def gateway(redis_url: str, **changes: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway for the length of a block; changes are settings."""
    running = RunningGateway(redis_url, **changes)
    running.done = asyncio.create_task(serve_until(running.shutdown, running.settings))
    try:
        await until(running.is_open, "the gateway listens")
        yield running
    finally:
        running.shutdown.drain.set()
        running.shutdown.haste.set()
        async with asyncio.timeout(LIMIT_S):
            await running.done


class Caller:
    """The jambonz side of one websocket."""

    def __init__(self, socket: ClientConnection, sid: str) -> None:
        self.socket: Final = socket
        self.sid: Final = sid
        self._count = 0

    async def says(self, kind: str, msgid: str = "", **data: Any) -> str:
        """Send a message about the call and return its msgid."""
        self._count += 1
        msgid = msgid or f"{self.sid}-{self._count}"
        frame = {"type": kind, "msgid": msgid, "call_sid": self.sid, "data": {"call_sid": self.sid} | data}
        await self.socket.send(orjson.dumps(frame).decode())
        return msgid

    async def hears(self) -> dict[str, Any]:
        """Return the next message from the gateway."""
        async with asyncio.timeout(LIMIT_S):
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
            return message

    async def close_code(self) -> int:
        """Wait until the gateway has closed the socket and return its code."""
        async with asyncio.timeout(LIMIT_S):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code


@contextlib.asynccontextmanager
async def caller(url: str, sid: str, **options: Any) -> AsyncIterator[Caller]:
    """Open a websocket as jambonz does; it is closed with 1000, the end of the call, behind its last status."""
    async with connect(url, subprotocols=[Subprotocol("ws.jambonz.org")], proxy=None, **options) as socket:
        yield Caller(socket, sid)


class Worker:
    """The worker's side, by hand: reads streams, claims, commits with the real scripts."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Final = redis
        self._fences: dict[str, int] = {}

    async def run(self, which: script.Script, keys_and_args: scripts.KeysAndArgs) -> Any:
        keys, args = keys_and_args
        return await self.redis.eval(which.source.decode(), len(keys), *keys, *args)

    async def takes(self, key: str, count: int = 1) -> list[Envelope]:
        """Wait for so many Envelopes in a stream, delete and return them."""
        found: list[Envelope] = []

        async def has_them() -> bool:
            for entry_id, fields in await self.redis.eval(_ENTRIES, 1, key):
                await self.redis.xdel(key, entry_id)
                found.extend(Envelope.decode(raw) for raw in fields[1::2])
            return len(found) >= count

        await until(has_them, f"{count} events in {key}")
        return found

    async def opens_inbox(self, worker_id: str = WORKER) -> None:
        """Create the inbox, as a worker does at its start."""
        entry = await self.redis.xadd(KEYS.inbox(worker_id), {"x": "x"})
        await self.redis.xdel(KEYS.inbox(worker_id), entry)
        await self.redis.pexpire(KEYS.inbox(worker_id), TTL_MS)

    async def claims(self, sid: str, worker_id: str = WORKER) -> None:
        keys = CallKeys.of(KEYS, sid)
        app = await self.redis.hget(keys.call, "app")
        assert isinstance(app, bytes), app
        reply = await self.run(script.CLAIM, scripts.claim_args(keys, worker_id, app.decode()))
        assert reply[0] == b"ok", reply
        self._fences[sid] = int(reply[1])

    async def sends(self, sid: str, *directives: Directive) -> int:
        """Commit a batch as anybody may, and return its seq."""
        keys_and_args = scripts.send_args(CallKeys.of(KEYS, sid), TTL_MS, encode_batch(directives))
        reply = await self.run(script.SEND, keys_and_args)
        assert reply[0] == b"ok", reply
        return int(reply[1])

    async def restores(self, sid: str) -> None:
        """Do as a worker does whose link has come up again."""
        ownership = scripts.Ownership(CallKeys.of(KEYS, sid), WORKER, self._fences[sid], TTL_MS)
        reply = await self.run(script.RESTORE, scripts.restore_args(ownership, scripts.Memory("default"), TTL_MS))
        assert reply[0] == b"ok", reply

    async def ends(self, sid: str) -> None:
        """Wait until nobody is attached any more, and end the call."""
        ownership = scripts.Ownership(CallKeys.of(KEYS, sid), WORKER, self._fences[sid], TTL_MS)

        async def is_gone() -> bool:
            reply = await self.run(script.END, scripts.end_args(ownership))
            return bool(reply[0] in {b"ok", b"gone"})

        await until(is_gone, f"call {sid} has no Connection left")
        for key in (KEYS.inbox(WORKER), DISPATCH):
            await self.redis.xtrim(key, maxlen=0)


async def begun(jambonz: Caller, worker: Worker, **data: str) -> None:
    """Bring a call to where it is owned, acked and talking."""
    msgid = await jambonz.says("session:new", direction="inbound", **data)
    await worker.takes(DISPATCH)
    await worker.claims(jambonz.sid)
    await worker.sends(jambonz.sid, Ack("a", 1, msgid, SAY))
    assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": [{"verb": "say", "text": "hi"}]}
    await jambonz.says("call:status", call_status="trying")
    await worker.takes(KEYS.inbox(WORKER))


async def finished(jambonz: Caller, worker: Worker) -> None:
    """End the call as jambonz and its worker do."""
    await jambonz.says("call:status", call_status="completed")
    await jambonz.socket.close(1000)
    await worker.ends(jambonz.sid)


async def log_is_empty(worker: Worker, sid: str) -> None:
    async def is_empty() -> bool:
        return not await worker.run(script.UNDELIVERED, scripts.undelivered_args(CallKeys.of(KEYS, sid), 0))

    await until(is_empty, "all batches have been delivered and deleted")


def redirect(sid: str) -> Command:
    return Command("c", redirect_frame(SAY, call_sid=sid))


async def killed_links(worker: Worker) -> None:
    """Cut every connection of gateways to Redis, as a fail-over or a firewall does."""
    for kind in ("normal", "pubsub"):
        await worker.redis.client_kill_filter(_type=kind, skipme=True)
