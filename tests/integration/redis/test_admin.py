"""What is said of real servers."""

import pytest

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect, findings_of
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
