"""The least that the way through Redis costs: a gateway and a worker like ours, without anything that is promised.

No owner, no fence, no order, no deadline, no limit, no metric, no state, no error is handled; what is lost is lost.
Frames and commands are cut and packed by modules of the product. Events of a loop tick are one stream entry, as are the
product's; acks of a loop tick are one message to the gateway. With ``logged`` each ack is a field of its call's hash
and a message to the call's channel, by a script of two commands, and is deleted when it has been written.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import hiredis
import orjson
import uvloop
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jambonz_gateway.frames import frame_length, text_frame, text_of
from jambonz_shared.redis.command import pack_command, pack_script
from tests.bench.application import VERBS

_HOOKS: Final = frozenset({"session:new", "session:reconnect", "session:redirect", "verb:hook", "dial:confirm"})
_STREAM: Final = b"relay:events"
_CHANNEL: Final = b"relay:acks"
_LOG: Final = """\
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', KEYS[2], ARGV[1] .. '|' .. ARGV[2])
return 1
"""


class Redis(asyncio.Protocol):
    """A connection that gathers the commands of a loop tick; replies go to one function."""

    def __init__(self, on_reply: Callable[[Any], None]) -> None:
        self._reader = hiredis.Reader()
        self._on_reply = on_reply
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._on_reply(reply)

    def send(self, packed: bytes) -> None:
        """Write a command at the end of this tick."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()


async def connected(port: int, on_reply: Callable[[Any], None]) -> Redis:
    """Connect to Redis."""
    _, protocol = await asyncio.get_running_loop().create_connection(partial(Redis, on_reply), "127.0.0.1", port)
    return protocol


class Gateway:
    """All sockets by a number, and what goes to Redis at the end of the tick."""

    def __init__(self, *, is_logged: bool) -> None:
        self.is_logged: Final = is_logged
        self.sockets: Final[dict[bytes, Socket]] = {}
        self.redis: Redis
        self.channels: Redis
        self._numbers = itertools.count()
        self._events: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def add(self, socket: "Socket") -> bytes:
        """Return the number of a new socket."""
        number = b"%d" % next(self._numbers)
        self.sockets[number] = socket
        if self.is_logged:
            self.channels.send(pack_command((b"SUBSCRIBE", b"chan:" + number)))
        return number

    def publish(self, number: bytes, text: bytes) -> None:
        """Put an event into the entry of this tick."""
        if not self._events:
            self._loop.call_soon(self._flush)
        self._events += (b"e", number + b"|" + text)

    def _flush(self) -> None:
        self.redis.send(pack_command((b"XADD", _STREAM, b"MAXLEN", b"~", 1000, b"*", *self._events)))
        self._events = []

    def on_message(self, message: Any) -> None:
        """Write what workers have answered."""
        kind, channel, body = message
        if kind != b"message":
            return
        if self.is_logged:
            number = channel[5:]
            seq, _, ack = body.partition(b"|")
            if socket := self.sockets.get(number):
                socket.transport.write(text_frame(ack))
                self.redis.send(pack_command((b"HDEL", b"call:" + number, seq)))
            return
        for line in body.split(b"\n"):
            number, _, ack = line.partition(b"|")
            if socket := self.sockets.get(number):
                socket.transport.write(text_frame(ack))


class Socket(asyncio.Protocol):
    """One websocket: the handshake by websockets, then text frames only."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._core = ServerProtocol(subprotocols=[Subprotocol("ws.jambonz.org")])
        self._rest = b""
        self._number = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.sockets.pop(self._number, None)

    def data_received(self, data: bytes) -> None:
        if self._core.state is not OPEN:
            self._core.receive_data(data)
            for request in self._core.events_received():
                assert isinstance(request, Request)
                self._core.send_response(self._core.accept(request))
                self.transport.write(b"".join(self._core.data_to_send()))
                self._number = self._gateway.add(self)
            return
        data, at = self._rest + data, 0
        while (length := frame_length(data, at)) and at + length <= len(data):
            text = text_of(data, at, at + length)
            if text is None:
                self.transport.close()
            else:
                self._gateway.publish(self._number, text)
            at += length
        self._rest = data[at:]


class Worker:
    """Reads events, answers hooks."""

    def __init__(self, *, is_logged: bool) -> None:
        self.redis: Redis
        self.reader: Redis
        self.sha = b""
        self._is_logged = is_logged
        self._seq = itertools.count()
        self._after = b"$"

    def read(self) -> None:
        """Ask for more events."""
        self.reader.send(pack_command((b"XREAD", b"COUNT", 256, b"BLOCK", 0, b"STREAMS", _STREAM, self._after)))

    def on_entries(self, reply: Any) -> None:
        """Answer what has come."""
        acks: list[bytes] = []
        for entry_id, fields in reply[0][1]:
            self._after = entry_id
            for event in fields[1::2]:
                number, _, text = event.partition(b"|")
                message = orjson.loads(text)
                if message["type"] in _HOOKS:
                    ack = orjson.dumps({"type": "ack", "msgid": message["msgid"], "data": VERBS})
                    if self._is_logged:
                        keys = (b"call:" + number, b"chan:" + number)
                        self.redis.send(pack_script(self.sha, keys, (next(self._seq), ack)))
                    else:
                        acks.append(number + b"|" + ack)
        if acks:
            self.redis.send(pack_command((b"PUBLISH", _CHANNEL, b"\n".join(acks))))
        self.read()


async def serve_gateway(redis_port: int, port: int, *, is_logged: bool) -> None:
    """Serve until killed."""
    gateway = Gateway(is_logged=is_logged)
    gateway.redis = await connected(redis_port, lambda _: None)
    gateway.channels = await connected(redis_port, gateway.on_message)
    if not is_logged:
        gateway.channels.send(pack_command((b"SUBSCRIBE", _CHANNEL)))
    await asyncio.get_running_loop().create_server(partial(Socket, gateway), "127.0.0.1", port, backlog=8192)
    print("ready", flush=True)
    await asyncio.Future()


async def serve_worker(redis_port: int, *, is_logged: bool) -> None:
    """Answer until killed."""
    worker = Worker(is_logged=is_logged)
    loaded: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def on_reply(reply: Any) -> None:
        if not loaded.done():
            loaded.set_result(reply)

    worker.redis = await connected(redis_port, on_reply)
    worker.redis.send(pack_command((b"SCRIPT", b"LOAD", _LOG)))
    worker.sha = await loaded
    worker.reader = await connected(redis_port, worker.on_entries)
    worker.read()
    print("ready", flush=True)
    await asyncio.Future()


if __name__ == "__main__":
    role, how, redis_port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == "gateway":
        uvloop.run(serve_gateway(redis_port, int(sys.argv[4]), is_logged=how == "logged"))
    else:
        uvloop.run(serve_worker(redis_port, is_logged=how == "logged"))
