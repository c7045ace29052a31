"""Every kind of connection redis-py opens carries our own protocol, on both event loops."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import Endpoint, UrlEndpoint
from jambonz_shared.redis.errors import LinkDown
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.names import Addresses, Names
from jambonz_shared.redis.streams import Entry, Source, StreamReader
from jambonz_shared.runtime.lifeline import die_with_parent
from tests.conditions import until
from tests.integration.redis.proxy import Proxy
from tests.redis_servers import available

Run = Callable[[Coroutine[Any, Any, None]], None]

# Longer than any buffer between here and Redis, so that both directions have to be paused and resumed.
BIG = b"x" * (4 << 20)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in a loop of its own: uvloop is what production has, and its transports are its own."""

    def start(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return start


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A fresh certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    assert openssl, "the openssl command is needed to make a certificate (Debian: apt-get install openssl)"
    files = tmp_path / "server.crt", tmp_path / "server.key"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    outputs = ["-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([openssl, "req", *options, *names, *outputs], check=True, capture_output=True, timeout=60)
    return files


async def use(endpoint: Endpoint) -> None:
    """Send, subscribe and read over connections of this endpoint; lose one; end them all."""
    link = Link(endpoint)
    channels = Channels(endpoint, link, "jc:canary:test")
    said: list[bytes] = []
    entries: list[Entry] = []
    reader = StreamReader(endpoint, link, Source("jc:inbox:{w1}"), entries.extend)
    channels.subscribe(b"a", said.append)
    tasks = [asyncio.create_task(work) for work in (link.run(), channels.run(), reader.run())]
    await link.wait_up()
    await until(lambda: channels.is_up and reader.is_up, "all are up")
    assert await link.call("ECHO", BIG) == BIG
    await link.call("PUBLISH", "a", BIG)
    await link.call("XADD", "jc:inbox:{w1}", "*", "e", BIG)
    await until(lambda: bool(said and entries), "message and entry have come")
    assert (said[0], entries[0][1]) == (BIG, [BIG])
    with pytest.raises(LinkDown):
        await asyncio.gather(link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"), link.call("BLPOP", "no", 0))
    await until(lambda: link.is_up and link.connects == 2 and reader.is_up, "all are up again")
    await link.call("DEL", "jc:inbox:{w1}")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_tcp(redis_url: str, run: Run) -> None:
    """``redis://`` is what most installations have."""
    run(use(UrlEndpoint(redis_url)))


def test_tls(redis_server: EmbeddedRedis, redis_url: str, certificate: tuple[Path, Path], run: Run) -> None:
    """``rediss://``: the transport below our protocol is then one that encrypts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def use_tls() -> None:
        async with Proxy(redis_server.port, context).listening() as proxy:
            url = proxy.url.replace("redis://", "rediss://") + f"?ssl_ca_certs={quote(str(certificate[0]))}"
            await use(UrlEndpoint(url))

    run(use_tls())


def test_name_is_what_the_certificate_has_to_say(
    redis_server: EmbeddedRedis, certificate: tuple[Path, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We look names up ourselves; TLS still verifies the name and not the address."""
    monkeypatch.setattr("jambonz_shared.redis.endpoint.NAMES", Names(lambda _: ("127.0.0.1",)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def use_tls() -> None:
        async with Proxy(redis_server.port, context).listening() as proxy:
            url = proxy.url.replace("redis://", "rediss://") + f"?ssl_ca_certs={quote(str(certificate[0]))}"
            await use(UrlEndpoint(url.replace("127.0.0.1", "localhost")))
            with pytest.raises(RedisConnectionError, match=r"[Hh]ostname mismatch"):
                await UrlEndpoint(url.replace("127.0.0.1", "elsewhere")).connect()

    run(use_tls())


def test_second_address_of_a_name_is_tried(redis_url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost`` is ::1 first, where Redis may not listen."""
    monkeypatch.setattr("jambonz_shared.redis.endpoint.NAMES", Names(lambda _: ("::1", "127.0.0.1")))

    async def connect() -> None:
        connection = await UrlEndpoint(redis_url.replace("127.0.0.1", "localhost")).connect()
        await connection.disconnect()

    run(connect())


def test_redis_that_is_back_is_found_while_older_look_ups_hang(
    redis_url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop's own look-ups wait for each other: two that hang for 5 s kept all connections of a gateway down."""
    hanging: list[str] = []
    is_over = threading.Event()

    def look_up(host: str) -> Addresses:
        if len(hanging) < 8:
            hanging.append(host)
            assert is_over.wait(30)
        return ("127.0.0.1",)

    monkeypatch.setattr("jambonz_shared.redis.endpoint.NAMES", Names(look_up))
    monkeypatch.setattr("jambonz_shared.redis.names._PATIENCE_S", 0.0)

    async def connect() -> None:
        endpoint = UrlEndpoint(redis_url.replace("127.0.0.1", "redis"))
        hang = [asyncio.create_task(endpoint.connect()) for _ in range(8)]
        await until(lambda: len(hanging) == 8, "all of them hang")
        connection = await asyncio.wait_for(endpoint.connect(), 5)
        await connection.disconnect()
        is_over.set()
        for connection in await asyncio.gather(*hang):
            await connection.disconnect()

    run(connect())


class Remembering(UrlEndpoint):
    """An endpoint that remembers the sockets of its connections."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.transports: list[asyncio.WriteTransport] = []

    async def connect(self) -> AbstractConnection:
        connection = await super().connect()
        assert connection._writer is not None
        self.transports.append(connection._writer.transport)
        return connection

    def has_open_socket(self) -> bool:
        # A TLS transport that has ended knows no socket any more; that of a plain one is closed.
        sockets = [transport.get_extra_info("socket") for transport in self.transports]
        return any(it is not None and it.fileno() >= 0 for it in sockets)


async def test_tls_connection_has_ended_when_its_task_has(
    redis_server: EmbeddedRedis, certificate: tuple[Path, Path], redis_url: str
) -> None:
    """TLS waits for the peer's farewell; a loop that ends before it comes leaves an open socket to the collector."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with Proxy(redis_server.port, context).listening() as proxy:
        url = proxy.url.replace("redis://", "rediss://") + f"?ssl_ca_certs={quote(str(certificate[0]))}"
        endpoint = Remembering(url)
        link = Link(endpoint)
        task = asyncio.create_task(link.run())
        await link.wait_up()
        assert endpoint.has_open_socket()
        task.cancel()
        await asyncio.wait((task,))
        assert not endpoint.has_open_socket()


async def test_connection_whose_peer_does_not_read_is_cut_off() -> None:
    """What was written can never be sent; a process that ends must not wait for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What comes before the link is up is short; redis-py names itself in two commands at once.
        while 0 < len(data := await reader.read(65536)) < 4096:
            writer.write(b"+OK\r\n" * max(1, data.count(b"SETINFO")))
        await ended.wait()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = Remembering(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    link = Link(endpoint, scripts=())
    task = asyncio.create_task(link.run())
    await link.wait_up()
    said = asyncio.gather(*(link.call("ECHO", BIG) for _ in range(4)), return_exceptions=True)
    (transport,) = endpoint.transports
    await until(lambda: transport.get_write_buffer_size() > 0, "the socket takes no more")
    task.cancel()
    await asyncio.wait((task,))
    assert not endpoint.has_open_socket()
    assert all(isinstance(error, LinkDown) for error in await said)
    ended.set()
    server.close()
    await server.wait_closed()


def test_unix_socket(tmp_path: Path, run: Run) -> None:
    """``unix://``: Redis on the same machine, without a port."""
    path = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    # preexec_fn makes two system calls and takes no lock.
    with subprocess.Popen(
        [available()["newest"], *options],
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),  # noqa: PLW1509
    ) as server:
        try:
            # The Link waits for the socket to appear.
            run(use(UrlEndpoint(f"unix://{path}")))
        finally:
            server.kill()
