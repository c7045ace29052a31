"""A Redis Cluster behind TLS, with a user who may do what the documentation says and nothing else."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import why_unreachable
from jambonz_shared.redis.connect import backend_of
from tests.certificates import SelfSigned, make_certificate
from tests.conditions import until
from tests.integration.redis.conftest import Running
from tests.ports import free_row
from tests.redis_cluster import RedisCluster, can_run

pytestmark = pytest.mark.skipif(not can_run(), reason="needs redis-server 7.0 on PATH")

REPO = Path(__file__).resolve().parents[3]
KEYS = Keys()


def documented_commands() -> list[str]:
    """Return the rules of deploy/redis/start.sh, and those that the how-to adds for a cluster."""
    start = re.findall(r'"(\+[^"]*)"', (REPO / "deploy/redis/start.sh").read_text())
    [more] = re.findall(r"`(\+cluster\|slots[^`]*)`", (REPO / "docs/how-to/choose-a-redis.md").read_text())
    return " ".join([*start, more]).split()


@pytest.fixture
def certificate(tmp_path: Path) -> SelfSigned:
    """The certificate of all servers."""
    return make_certificate(tmp_path, "redis")


@pytest.fixture
def secured(certificate: SelfSigned) -> Iterator[RedisCluster]:
    """Servers that speak TLS only, with the user ``jambonz``."""
    with RedisCluster(certificate) as servers:
        rules = ["on", ">p@ss", "~jc:*", "&jc:*", "-@all", *documented_commands()]
        for server in servers.servers:
            server.ask("ACL", "SETUSER", "jambonz", *rules)
        yield servers


async def test_cluster_behind_tls_and_login_is_used_as_any(
    secured: RedisCluster, certificate: SelfSigned, running: Running
) -> None:
    """Discovery, commands, sharded channels and readers all go over TLS with the login of the URL."""
    hosts = secured.url.partition("://")[2]
    backend = backend_of(f"rediss+cluster://jambonz:p%40ss@{hosts}/0?ssl_ca_certs={certificate.certificate}")
    link = backend.link("link")
    running(link.run())
    await asyncio.wait_for(link.wait_up(), 10)
    channels = backend.channels(link, "jc:canary:{p}")
    running(channels.run())
    heard: list[bytes] = []
    ready = asyncio.Event()
    channels.subscribe(KEYS.alive("w1").encode(), heard.append, ready.set)
    await asyncio.wait_for(ready.wait(), 10)
    assert await link.call(b"PUBSUB", b"NUMSUB", KEYS.alive("w1")) == [KEYS.alive("w1").encode(), 1]
    await link.call(b"PUBLISH", KEYS.alive("w1"), b"hello")
    await until(lambda: heard == [b"hello"], "the message")
    assert await link.call(b"SET", KEYS.call("c1"), b"1", b"PX", 60_000) == b"OK"
    connection = await backend.endpoint(KEYS.inbox("w1")).connect()
    await connection.disconnect()


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["reason"] for record in caplog.records if record.message == "redis cluster is not whole"]


async def test_refusal_that_comes_late_is_heard_out(
    secured: RedisCluster, certificate: SelfSigned, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS and a login take more than a third of a second on a busy machine; "no answer" would send somebody astray."""
    monkeypatch.setattr("jambonz_shared.redis.cluster.topology._ASK_LIMIT_S", 0.001)
    hosts = secured.url.partition("://")[2]
    query = f"ssl_ca_certs={certificate.certificate}"
    link = backend_of(f"rediss+cluster://jambonz:wrong@{hosts}/0?{query}").link("link")
    running(link.run())
    await until(lambda: link.refusal == "WRONGPASS", "the refusal is told")
    slow = backend_of(f"rediss+cluster://jambonz:p%40ss@{hosts}/0?{query}").link("slow")
    running(slow.run())
    await until(lambda: slow.is_up, "servers that are slow, and no more, are used")


async def test_cluster_whose_certificate_nobody_trusts_is_told_so(
    secured: RedisCluster, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The certificate is what has to be looked at, and not the slots."""
    url = f"rediss+cluster://jambonz:p%40ss@{secured.url.partition('://')[2]}/0"
    running(backend_of(url).link("link").run())
    await until(lambda: bool(reasons(caplog)), "it is told")
    assert "CERTIFICATE_VERIFY_FAILED" in reasons(caplog)[0]
    assert "CERTIFICATE_VERIFY_FAILED" in await why_unreachable(url, "jc:apps")


async def test_servers_that_are_no_cluster_are_told_by_what_they_are(redis_url: str) -> None:
    """One is a single Redis, at the other address nobody listens."""
    address = redis_url.removeprefix("redis://").removesuffix("/0")
    nobody = f"127.0.0.1:{free_row(1)}"
    why = await why_unreachable(f"redis+cluster://{address},{nobody}", "jc:apps")
    assert why.startswith("no server of the Redis Cluster knows all slots: it is no Redis Cluster; ")
    assert f"Error 111 connecting to {nobody}" in why
