"""Every kind of connection redis-py opens carries our own protocol, on both event loops."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvloop

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import Endpoint, UrlEndpoint
from jambonz_shared.redis.errors import LinkDown
from jambonz_shared.redis.link import Link
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
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
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
