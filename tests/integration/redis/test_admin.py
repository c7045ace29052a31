"""What is said of real servers."""

import asyncio

import pytest

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect, findings_of, why_unreachable
from tests.integration.redis.desk import execute


@pytest.mark.both_redis
async def test_supported_servers_have_no_fatal_finding(redis_url: str) -> None:
    """Both servers of the tests will do; without AOF they say what that means."""
    client = connect(redis_url)
    findings = findings_of(await client.info("everything"))
    await client.aclose()
    assert [finding.is_fatal for finding in findings] == [False]
    assert "appendonly" in findings[0].text


async def test_durable_server_has_no_finding(durable_server: EmbeddedRedis) -> None:
    """A server as the documentation recommends it."""
    client = connect(durable_server.url)
    assert findings_of(await client.info("everything")) == []
    await client.aclose()


async def test_server_that_evicts_is_found(own_server: EmbeddedRedis) -> None:
    """It would forget live calls under memory pressure."""
    client = connect(own_server.url)
    await client.config_set("maxmemory", "100mb")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    texts = [finding.text for finding in findings_of(await client.info("everything"))]
    assert any("allkeys-lru" in text for text in texts)
    await client.aclose()


async def test_replica_is_found(own_server: EmbeddedRedis) -> None:
    """Nothing can be written to it."""
    client = connect(own_server.url)
    await execute(client, "REPLICAOF", "127.0.0.1", "1")
    assert any(
        finding.is_fatal and "replica" in finding.text for finding in findings_of(await client.info("everything"))
    )
    await client.aclose()


async def test_server_without_auth_does_not_tell_the_password() -> None:
    """It repeats what stands behind a command that it does not know; `doctor` and the status page show its words."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(b"-ERR unknown command 'AUTH', with args beginning with: 'ops' 's3cret' \r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        why = await why_unreachable(f"redis://ops:s3cret@127.0.0.1:{port}/0", "jc:apps")
    assert "AUTH" in why
    assert "s3cret" not in why
