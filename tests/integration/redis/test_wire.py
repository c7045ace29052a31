"""Servers that misbehave: what they say at the wrong time, or in the wrong language."""

import asyncio
import itertools
import socket
import statistics
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis.asyncio.connection import AbstractConnection

from jambonz_cluster.embedded_redis import EmbeddedRedis, free_port
from jambonz_shared.redis.admin import connect, why_unreachable
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import WireLost
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import GroupMember, Source, StreamReader
from jambonz_shared.redis.wire import RECONNECT, TICK_S, Wire
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.integration.redis.desk import execute


class Impostor:
    """A TCP server that answers whatever comes with the same bytes. No Redis, only what one may look like."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.port = 0
        self.connections = 0
        # Seconds to wait before each answer behind redis-py's handshake, and that answer.
        self.later: tuple[float, bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ended: list[asyncio.Future[None]] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Impostor"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.gather(*self._ended)

    def reset(self) -> None:
        """Reset the newest connection, as a server that dies with unread bytes does."""
        assert self._writer is not None
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        ended = asyncio.get_running_loop().create_future()
        self._ended.append(ended)
        try:
            while data := await reader.read(65536):
                if self.later and b"SETINFO" not in data:
                    await asyncio.sleep(self.later[0])
                    writer.write(self.later[1] * max(1, data.count(b"$4\r\nLOAD") + data.count(b"PING")))
                    continue
                # One answer per command, as far as redis-py's handshake goes.
                writer.write(self.answer * max(1, data.count(b"SETINFO")))
        except OSError:
            pass
        writer.transport.abort()
        ended.set_result(None)


class NoRedis:
    """An Endpoint that is never there."""

    def __init__(self) -> None:
        self.tries = 0
        self.error: Exception = ConnectionRefusedError()

    @property
    def name(self) -> str:
        return "nowhere"

    async def connect(self) -> AbstractConnection:
        self.tries += 1
        raise self.error


class SilentRedis(NoRedis):
    """An Endpoint that swallows whoever connects."""

    def __init__(self) -> None:
        super().__init__()
        self.tries_at_s: list[float] = []

    async def connect(self) -> AbstractConnection:
        self.tries_at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(60)
        raise AssertionError("it should have been cancelled")


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["reason"] for record in caplog.records if record.message == "redis connection lost"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "bytes that are not the Redis protocol"),
    ],
    ids=["loading", "http"],
)
async def test_server_that_is_not_ready_is_tried_until_it_is(
    running: Running, caplog: pytest.LogCaptureFixture, answer: bytes, reason: str
) -> None:
    """A Redis that loads its data, or a wrong port: no commands go there, and the log says why."""
    async with Impostor(answer).listening() as impostor:
        link = Link(UrlEndpoint(impostor.url))
        task = running(link.run())
        await until(lambda: impostor.connections >= 3, "the link has tried again")
        assert not link.is_up
        assert set(reasons(caplog)) == {reason}
        task.cancel()
        await asyncio.wait((task,))


async def test_gibberish_ends_the_connection(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """After bytes that are no reply nobody can tell which reply is whose."""
    async with Impostor(b"+OK\r\n").listening() as impostor:
        link = Link(UrlEndpoint(impostor.url), scripts=())
        task = running(link.run())
        await link.wait_up()
        impostor.answer = b"gibberish\r\n"
        await until(lambda: "bytes that are not the Redis protocol" in reasons(caplog), "the connection is dropped")
        task.cancel()
        await asyncio.wait((task,))


async def test_server_that_is_not_there_is_named_with_the_reason(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the name, the port or the certificate is wrong: the operator has nothing else to go by."""
    port = free_port()
    running(Link(UrlEndpoint(f"redis://:secret@127.0.0.1:{port}")).run())
    await until(lambda: bool(reasons(caplog)), "the link has tried")
    assert f"127.0.0.1:{port}. Connect call failed" in reasons(caplog)[0]
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("rules", "login", "code"),
    [
        pytest.param((), "", "NOAUTH", id="no_password"),
        pytest.param((), "visitor:wrong@", "WRONGPASS", id="wrong_password"),
        pytest.param(("-script",), "visitor:pw@", "NOPERM", id="too_few_rights"),
    ],
)
async def test_server_that_refuses_is_told_by_its_word(
    own_server: EmbeddedRedis,
    running: Running,
    caplog: pytest.LogCaptureFixture,
    rules: tuple[str, ...],
    login: str,
    code: str,
) -> None:
    """`AuthenticationError` is said of three mistakes; and none of them is a Redis that does not answer."""
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "visitor", "on", ">pw", "~*", "&*", "+@all", *rules)
    await execute(admin, "CONFIG", "SET", "requirepass", "secret")
    link = Link(UrlEndpoint(own_server.url.replace("redis://", f"redis://{login}")))
    running(link.run())
    await until(lambda: bool(reasons(caplog)), "the link has tried")
    assert (set(reasons(caplog)), link.refusal) == ({code}, code)
    await execute(admin, "ACL", "SETUSER", "visitor", ">wrong", "+@all")
    await execute(admin, "ACL", "SETUSER", "default", "nopass")
    await link.wait_up()
    assert link.refusal == ""
    await admin.aclose()


async def test_connection_that_was_reset_is_told_in_the_words_of_the_system(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The name of an exception's class tells an operator less."""
    async with Impostor(b"+OK\r\n").listening() as impostor:
        link = Link(UrlEndpoint(impostor.url), scripts=())
        running(link.run())
        await link.wait_up()
        impostor.reset()
        await until(lambda: bool(reasons(caplog)), "it is told")
        assert reasons(caplog)[0] == "[Errno 104] Connection reset by peer"


async def test_long_failure_does_not_flood_the_log(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins, one when its reason changes."""
    nowhere = NoRedis()
    running(Link(nowhere).run())
    await until(lambda: nowhere.tries >= 4, "it has been tried often")
    assert reasons(caplog) == ["ConnectionRefusedError"]
    nowhere.error = OSError(113, "No route to host")
    tries = nowhere.tries
    await until(lambda: nowhere.tries >= tries + 2, "it has been tried again")
    assert reasons(caplog) == ["ConnectionRefusedError", "[Errno 113] No route to host"]


async def test_redis_that_does_not_answer_floods_the_log_no_more_than_one_that_refuses(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try takes all its time, which is no health; the next one follows at once, for that time was a pause."""
    monkeypatch.setattr("jambonz_shared.redis.wire.CONNECT_LIMIT_S", RECONNECT.healthy_s + 0.05)
    silent = SilentRedis()
    running(Link(silent).run())
    await until(lambda: len(silent.tries_at_s) >= 5, "it has been tried often")
    assert reasons(caplog) == ["no answer within 0.3 s"]
    pauses_s = [later - before - RECONNECT.healthy_s - 0.05 for before, later in itertools.pairwise(silent.tries_at_s)]
    assert min(pauses_s) < 0.1, "no pause on top of a time-out that is longer than the pause"


async def test_bug_in_an_endpoint_ends_the_task() -> None:
    """Only weather is tried again; a mistake has to show."""
    nowhere = NoRedis()
    nowhere.error = AttributeError("a mistake")
    with pytest.raises(AttributeError, match="a mistake"):
        await Link(nowhere).run()


async def test_connection_that_ended_after_its_handshake_is_not_taken_over(redis_url: str) -> None:
    """The end of input came to redis-py's protocol, and nobody would tell ours."""
    connection = await UrlEndpoint(redis_url).connect()
    reader = connection._reader
    assert reader is not None
    reader.feed_eof()
    wire = Wire(lambda _: None)
    with pytest.raises(WireLost, match="closed after the handshake"):
        wire.take_over(connection)
    assert await wire.lost_within(0)
    with pytest.raises(WireLost, match="closed after the handshake"):
        Wire(lambda _: None).take_over(connection)


async def test_callbacks_of_refused_commands_are_safe_too(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises at a failure must not end the loop's task."""
    link = Link(NoRedis())

    def fail(_: object) -> None:
        raise LookupError

    failures = failures_of(link)
    link.send(fail, "PING")
    await until(lambda: len(failures) == 1, "the failure is told")
    assert "callback of a redis reply failed" in caplog.text


async def test_channels_whose_callbacks_raise_go_on(redis_url: str, link: Link, running: Running) -> None:
    """``on_ready`` and ``on_resubscribed`` are as safe as messages."""

    def fail() -> None:
        raise LookupError

    failures = failures_of(link)
    channels = Channels(UrlEndpoint(redis_url), link, "jc:canary:test", fail)
    running(channels.run())
    channels.subscribe(b"a", lambda _: None, fail)
    await until(lambda: len(failures) == 1, "the failure of on_ready is told")
    await link.call("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: len(failures) == 2, "the failure of on_resubscribed is told")
    assert (channels.is_up, channels.connects) == (True, 2)


@pytest.mark.parametrize("denied", ["client|id", "xgroup|create"])
async def test_reader_without_permission_is_tried_again(
    own_server: EmbeddedRedis, running: Running, denied: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator may mend it while the worker runs."""
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", f"-{denied}")
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    source = Source("jc:dispatch:{ivr}", GroupMember("workers", "w1", lambda: 1))
    url = own_server.url.replace("redis://", "redis://reader:pw@")
    reader = StreamReader(UrlEndpoint(url), link, source, lambda _: None)
    running(reader.run())
    await until(lambda: "NOPERM" in reasons(caplog), "Redis has refused it")
    assert not reader.is_up
    await execute(admin, "ACL", "SETUSER", "reader", "+@all")
    await until(lambda: reader.is_up, "the reader is up")
    await admin.aclose()


async def test_reader_without_permission_to_look_at_its_stream_is_tried_again(
    own_server: EmbeddedRedis, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """After a lost connection it must know whether the stream is still the same one."""
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-xinfo|stream")
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    heard: list[object] = []
    url = own_server.url.replace("redis://", "redis://reader:pw@")
    reader = StreamReader(UrlEndpoint(url), link, Source("jc:inbox:{w1}"), heard.append)
    running(reader.run())
    await admin.xadd("jc:inbox:{w1}", {"e": "a"})
    await until(lambda: len(heard) == 1, "the entry has come")
    await execute(admin, "CLIENT", "KILL", "ID", str(reader.client_id))
    await until(lambda: "NOPERM" in reasons(caplog), "Redis has refused it")
    await execute(admin, "ACL", "SETUSER", "reader", "+@all")
    await until(lambda: reader.is_up, "the reader is up")
    assert len(heard) == 1
    await admin.aclose()


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"gibberish\r\n"], ids=["no_number", "gibberish"])
async def test_reader_that_cannot_prepare_tries_again(running: Running, answer: bytes) -> None:
    """It asks who it is before it reads; without a sensible answer it reads nothing."""
    async with Impostor(b"+OK\r\n").listening() as impostor:
        reader = StreamReader(UrlEndpoint(impostor.url), Link(NoRedis()), Source("jc:inbox:{w1}"), lambda _: None)
        task = running(reader.run())
        await until(lambda: impostor.connections >= 1, "the reader has connected")
        impostor.answer = answer
        await until(lambda: impostor.connections >= 3, "the reader has tried again")
        assert not reader.is_up
        await reader.stop()
        await asyncio.wait((task,))


async def test_connections_of_a_process_tick_together() -> None:
    """An idle process is woken once for all of them; each still counts every quarter of a second."""
    loop = asyncio.get_running_loop()
    ticks: list[list[float]] = [[], []]
    watches = []
    for seen in ticks:
        watches.append(asyncio.create_task(Wire(lambda _: None).watch(partial(_note, loop, seen))))
        await until(lambda: 0.1 < loop.time() % TICK_S < 0.2, "the other begins at another moment")
    await until(lambda: all(len(seen) >= 5 for seen in ticks), "five ticks of each")
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    for seen in ticks:
        assert statistics.median(later - earlier for earlier, later in itertools.pairwise(seen)) == pytest.approx(
            TICK_S, abs=0.05
        )
        assert statistics.median(moment % TICK_S for moment in seen) < 0.1


def _note(loop: asyncio.AbstractEventLoop, seen: list[float]) -> None:
    seen.append(loop.time())


async def test_server_that_takes_its_time_to_refuse_does_not_flood_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that loads its data for minutes looks up now and then only: its answer comes late, to each try."""
    async with Impostor(b"+OK\r\n").listening() as impostor:
        link = Link(UrlEndpoint(impostor.url))
        impostor.later = (RECONNECT.healthy_s + 0.05, b"-LOADING Redis is loading the dataset in memory\r\n")
        task = running(link.run())
        await until(lambda: impostor.connections >= 4, "it has been tried again and again")
        assert reasons(caplog) == ["LOADING"]
        assert link.refusal == "LOADING"
        task.cancel()
        await asyncio.wait((task,))


async def test_reasons_that_take_turns_do_not_flood_the_log(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told once: a server that cannot be reached by one address is refused at the other."""
    nowhere = NoRedis()
    turns = itertools.cycle([ConnectionRefusedError(), OSError(113, "No route to host")])

    async def fail() -> AbstractConnection:
        nowhere.tries += 1
        raise next(turns)

    nowhere.connect = fail  # type: ignore[method-assign]
    running(Link(nowhere).run())
    await until(lambda: nowhere.tries >= 5, "it has been tried often")
    assert reasons(caplog) == ["ConnectionRefusedError", "[Errno 113] No route to host"]


async def test_redis_that_has_no_room_for_another_client_is_told_so(
    own_server: EmbeddedRedis, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so at once and closes; who was writing just then heard of a lost connection, most of the time."""
    hogs = [await asyncio.open_connection("127.0.0.1", own_server.port) for _ in range(10)]
    admin = connect(own_server.url)
    await execute(admin, "CONFIG", "SET", "maxclients", "11")
    tries = [await why_unreachable(own_server.url, "jc:apps") for _ in range(10)]
    assert set(tries) == {"max number of clients reached"}
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    await until(lambda: bool(reasons(caplog)), "the link has tried")
    assert set(reasons(caplog)) == {"max number of clients reached"}
    await execute(admin, "CONFIG", "SET", "maxclients", "100")
    await link.wait_up()
    await admin.aclose()
    for _, writer in hogs:
        writer.close()
        await writer.wait_closed()
