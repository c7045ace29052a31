"""One socket that says much and means nothing: others are served meanwhile, and what it does mean is heard."""

import asyncio
from typing import Final

import orjson
import pytest
from websockets.frames import Frame, Opcode

from jambonz_gateway.accounts import Accounts
from jambonz_gateway.apps import KnownApp
from jambonz_gateway.connection import Connection
from jambonz_gateway.core import EARLY_LIMIT_BYTES, FRAMES_PER_TURN
from jambonz_gateway.effects import Effect
from jambonz_gateway.handshake import Welcome
from jambonz_gateway.session import Session
from jambonz_gateway.switchboard import Cut
from jambonz_gateway.tally import Tally
from jambonz_gateway.turns import Turns
from jambonz_gateway.upgrade import Asked
from jambonz_gateway.wheel import Wheel
from tests.conditions import LIMIT_S, until
from tests.integration.gateway.gateways import KEYS, WORKER, Caller, Worker, begun, caller, finished, gateway
from tests.integration.gateway.test_http import SUBPROTOCOL, UPGRADE

NOTICE: Final = orjson.dumps({"type": "llm:event", "msgid": "m", "call_sid": "call-1", "data": {"call_sid": "call-1"}})


def frame(opcode: Opcode, payload: bytes = b"", *, is_last: bool = True) -> bytes:
    return Frame(opcode, payload, is_last).serialize(mask=True)


def in_fragments(message: bytes) -> bytes:
    """Return a message byte by byte: as many frames."""
    first, *middle, last = (message[at : at + 1] for at in range(len(message)))
    return b"".join(
        [
            frame(Opcode.TEXT, first, is_last=False),
            *(frame(Opcode.CONT, part, is_last=False) for part in middle),
            frame(Opcode.CONT, last),
        ]
    )


class Wire(asyncio.Transport):
    """Takes what is written, and knows whether anybody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.listens = True
        self.aborts = 0
        self.closes = 0

    def abort(self) -> None:
        self.aborts += 1

    def close(self) -> None:
        self.closes += 1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.listens = False

    def resume_reading(self) -> None:
        self.listens = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Board:
    """A switchboard for one Connection."""

    ping_interval_s = 25.0
    max_event_bytes = 1 << 20

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop, on_error=lambda error: pytest.fail(repr(error)))
        self.turns = Turns(loop)
        self.accounts = Accounts(call_rate=1000, account_rate=1000)
        self.tally = Tally()

    def requested(self, connection: Connection, asked: Asked) -> None:
        connection.welcome(Welcome(KnownApp("default"), "/", ""), asked)

    def unusual(self, connection: Connection, data: bytes) -> None:
        pass

    def opened(self, connection: Connection, welcome: Welcome) -> Session:
        del connection, welcome
        return Session("gw-1", now_s=asyncio.get_running_loop().time())

    def perform(self, connection: Connection, effects: list[Effect]) -> None:
        pass

    def throttled(self, connection: Connection) -> None:
        pass

    def gone(self, connection: Connection, code: int | None) -> None:
        pass

    def cut(self, connection: Connection, why: Cut) -> None:
        pass

    def failed(self, connection: Connection, error: Exception) -> None:
        raise error


async def test_frames_behind_a_refused_request_cost_nothing(redis_url: str) -> None:
    """Anybody on the internet may send them: no pong, no look at them, before somebody is let in."""
    async with gateway(redis_url, basic_auth="jambonz:s3cret") as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.settings.port)
        request = UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode()
        writer.write(request + frame(Opcode.PING) * 1000)
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert answer.endswith(b"in jambonz.\n"), "the text of the answer, and no pongs"
        writer.close()


async def test_message_behind_the_request_is_heard_when_the_websocket_is_open(redis_url: str, worker: Worker) -> None:
    """A client that does not wait for the answer loses nothing."""
    begin = {"type": "session:new", "msgid": "m1", "call_sid": "call-1", "data": {"call_sid": "call-1"}}
    async with gateway(redis_url) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.settings.port)
        request = UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode()
        message = frame(Opcode.TEXT, orjson.dumps(begin))
        writer.write(request + message[:20])
        async with asyncio.timeout(LIMIT_S):
            assert await reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        writer.write(message[20:])
        [envelope] = await worker.takes(KEYS.dispatch("default"))
        assert (envelope.msgid, envelope.kind) == ("m1", "session:new")
        writer.write(frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        await worker.claims("call-1")
        await worker.ends("call-1")
        writer.close()


async def test_stranger_may_not_say_much_before_the_websocket_is_open() -> None:
    """What comes while a login is proved waits in memory: bounded for all who may come at once, before their turn."""
    board, wire = Board(), Wire()
    board.requested = lambda connection, asked: None  # type: ignore[method-assign]
    connection = Connection(board, asyncio.get_running_loop(), "192.0.2.7")
    connection.connection_made(wire)
    connection.data_received(UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode())
    await asyncio.sleep(0)
    connection.data_received(b"x" * EARLY_LIMIT_BYTES)
    assert wire.aborts == 0
    connection.data_received(b"x")
    assert wire.aborts == 1
    connection.connection_lost(None)
    board.wheel.stop()


async def test_request_without_an_end_is_cut_however_it_comes() -> None:
    """Its lines are good ones, so the core waits for more of them."""
    board, wire = Board(), Wire()
    connection = Connection(board, asyncio.get_running_loop(), "192.0.2.7")
    connection.connection_made(wire)
    connection.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(2 * EARLY_LIMIT_BYTES // 1000):
        connection.data_received(b"X: " + b"y" * 995 + b"\r\n")
        await asyncio.sleep(0)
    assert wire.aborts > 0
    connection.connection_lost(None)
    board.wheel.stop()


async def opened() -> tuple[Board, Wire, Connection]:
    """Return a Connection whose websocket is open."""
    board, wire = Board(), Wire()
    connection = Connection(board, asyncio.get_running_loop(), "192.0.2.7")
    connection.connection_made(wire)
    connection.data_received(UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode())
    await asyncio.sleep(0)
    return board, wire, connection


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.TEXT], ids=["pings", "messages"])
async def test_one_read_of_many_frames_is_taken_in_turns(opcode: Opcode) -> None:
    """A read may hold 40,000 pings, a second's work: hooks of other calls must not wait for them all."""
    board, wire, connection = await opened()
    answers = len(wire.written)

    def taken() -> int:
        return board.tally.events if opcode is Opcode.TEXT else (len(wire.written) - answers) // 2

    connection.data_received(frame(opcode, NOTICE if opcode is Opcode.TEXT else b"") * 150)
    assert (taken(), wire.listens) == (FRAMES_PER_TURN, False)
    await asyncio.sleep(0)
    assert (taken(), wire.listens) == (2 * FRAMES_PER_TURN, False)
    await asyncio.sleep(0)
    assert (taken(), wire.listens) == (150, True)
    connection.connection_lost(None)
    board.wheel.stop()


@pytest.mark.parametrize("code", [1000, 1001, 4000])
async def test_frames_behind_a_close_count_no_more(code: int) -> None:
    """RFC 6455 1.4, in one read with it or later; the close gets its own code back, once."""
    board, wire, connection = await opened()
    before = len(wire.written)
    connection.data_received(frame(Opcode.CLOSE, code.to_bytes(2, "big")) + frame(Opcode.TEXT, NOTICE))
    connection.data_received(frame(Opcode.TEXT, NOTICE))
    connection.send(b"{}")
    connection.eof_received()
    assert wire.written[before:] == b"\x88\x02" + code.to_bytes(2, "big")
    assert (board.tally.events, wire.closes) == (0, 1)
    connection.connection_lost(None)
    board.wheel.stop()


async def shouts(jambonz: Caller, data: bytes) -> None:
    """Write frames that no library would."""
    jambonz.socket.transport.write(data)


@pytest.mark.parametrize(
    ("flood", "messages"),
    [(frame(Opcode.PING) * 115, 0), (frame(Opcode.PONG) * 115, 0), (in_fragments(NOTICE + b" " * 30), 1)],
    ids=["pings", "pongs", "fragments"],
)
async def test_frames_that_are_no_messages_count_against_the_rate_of_their_call(
    redis_url: str, worker: Worker, flood: bytes, messages: int
) -> None:
    """They cost as much as messages; limited are they all, and what comes behind them is heard."""
    async with (
        gateway(redis_url, max_call_event_rate=10) as running,
        caller(running.url + "/", "call-1") as loud,
        caller(running.url + "/", "call-2") as quiet,
    ):
        for jambonz in (loud, quiet):
            await begun(jambonz, worker)
        await shouts(loud, flood)

        async def is_throttled() -> bool:
            return await running.metric("jambonz_gateway_throttled_total") >= 1

        await until(is_throttled, "the flood is not listened to for a while")
        hook = await quiet.says("verb:hook")
        assert hook in {envelope.msgid for envelope in await worker.takes(KEYS.inbox(WORKER))}
        await loud.says("verb:status", "behind")
        heard = await worker.takes(KEYS.inbox(WORKER), messages + 1)
        assert heard[-1].msgid == "behind"
        for jambonz in (loud, quiet):
            await finished(jambonz, worker)


async def test_flood_does_not_fill_the_log(redis_url: str, worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """It is slowed down many times a second; the operator is told, and the counters tell how often."""
    async with gateway(redis_url, max_call_event_rate=10) as running, caller(running.url + "/", "call-1") as loud:
        await begun(loud, worker)
        await shouts(loud, frame(Opcode.PONG) * 130)
        await loud.says("verb:status", "behind")
        await worker.takes(KEYS.inbox(WORKER))
        told = [record for record in caplog.records if record.message.startswith("call throttled")]
        assert await running.metric("jambonz_gateway_throttled_total") >= 25
        assert 10 <= len(told) <= 20
        await finished(loud, worker)


async def test_message_that_comes_byte_by_byte_is_heard_when_it_is_whole() -> None:
    """And what comes behind its end in the same read, too."""
    board, _, connection = await opened()
    message = frame(Opcode.TEXT, NOTICE)
    for at in range(len(message)):
        assert board.tally.events == 0
        connection.data_received(message[at : at + 1])
    assert board.tally.events == 1
    connection.data_received(message[:9])
    connection.data_received(message[9:] + message + message[:9])
    assert board.tally.events == 3
    connection.data_received(message[9:])
    assert board.tally.events == 4
    connection.connection_lost(None)
    board.wheel.stop()


async def test_messages_that_come_before_the_answer_are_heard_behind_it() -> None:
    """However they are cut; a peer that does not wait for its answer is not looked at before it."""
    board, wire = Board(), Wire()
    requests: list[Asked] = []
    board.requested = lambda connection, asked: requests.append(asked)  # type: ignore[method-assign]
    connection = Connection(board, asyncio.get_running_loop(), "192.0.2.7")
    connection.connection_made(wire)
    message = frame(Opcode.TEXT, NOTICE)
    connection.data_received(
        UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode() + message + message[:9]
    )
    await asyncio.sleep(0)
    connection.data_received(message[9:12])
    await asyncio.sleep(0)
    assert board.tally.events == 0
    connection.welcome(Welcome(KnownApp("default"), "/", ""), requests[0])
    connection.data_received(message[12:])
    await asyncio.sleep(0)
    assert board.tally.events == 2
    connection.connection_lost(None)
    board.wheel.stop()
