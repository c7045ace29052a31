"""`jambonz-cluster doctor` against real clusters: one that is well, and what people get wrong."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from jambonz_cluster.connected import connected
from jambonz_cluster.doctor.examination import Case, _redis
from jambonz_cluster.doctor.findings import Level
from jambonz_cluster.doctor.redis_checks import redis_findings
from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.config import CommonSettings, GatewaySettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import why_unreachable
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.command_line import run_command
from tests.integration.redis.desk import execute
from tests.redis_cluster import RedisCluster
from tests.redis_servers import available

pytestmark = pytest.mark.lasting_clusters

LOGIN = {"JAMBONZ_CLUSTER_BASIC_AUTH": "jambonz:secret"}


async def doctor(running: Cluster, *arguments: str, **environ: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run it and return its exit code and its findings by check."""
    gateway = running.gateways[0]
    ports = ["--host", "127.0.0.1", "--port", str(gateway.port), "--internal-port", str(gateway.internal_port)]
    url = {"JAMBONZ_CLUSTER_REDIS_URL": running.redis_url}
    code, out, err = await run_command("doctor", "--json", *ports, *arguments, **(url | environ))
    assert out, err
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in orjson.loads(out):
        found.setdefault(finding["check"], []).append(finding)
    return code, found


def levels(found: dict[str, list[dict[str, Any]]], check: str) -> list[str]:
    return [finding["level"] for finding in found[check]]


async def test_cluster_that_is_well_is_told_so(cluster: ClusterFactory) -> None:
    """Every check runs, and the test call is answered by a worker; wrong credentials are refused."""
    running = await cluster("examples.ivr:app", settings=LOGIN)
    code, found = await doctor(running, "examples.ivr:app", **LOGIN)
    assert code == 0, found
    for check in ("settings", "redis rights", "clock", "gateway", "gateways", "workers", "call", "credentials"):
        assert levels(found, check) == ["ok"], found[check]
    assert "secret" not in str(found)


async def test_cluster_that_is_well_does_not_fail_for_want_of_a_path(cluster: ClusterFactory) -> None:
    """Without an application the doctor can but guess that ``/`` is served; wrong credentials are still found out."""
    running = await cluster("examples.ivr:app", settings=LOGIN)
    code, found = await doctor(running, **LOGIN)
    assert code == 0, found
    assert levels(found, "call") == ["warn"]
    assert "doctor MODULE:APP" in found["call"][0]["cure"]
    assert levels(found, "credentials") == ["ok"]


async def test_wrong_credentials_and_missing_ones_are_told_apart(cluster: ClusterFactory) -> None:
    """401 for the test call; and a gateway that lets anybody in is a risk."""
    running = await cluster("examples.ivr:app", settings=LOGIN)
    url = running.url.removeprefix("ws://")
    code, found = await doctor(running, "--url", f"ws://jambonz:wrong@{url}/ivr#rc=1")
    assert code == 1
    assert "give --url with the right credentials" in found["call"][0]["cure"]
    open_to_all = await cluster("examples.ivr:app")
    code, found = await doctor(open_to_all, "--url", f"{open_to_all.url}/ivr")
    assert code == 0, found
    assert levels(found, "credentials") == ["warn"]
    assert levels(found, "url") == ["warn"]


async def test_application_that_fails_is_found(cluster: ClusterFactory, tmp_path: Path) -> None:
    """The worker answers at once, and declines every call."""
    (tmp_path / "failing.py").write_text(
        "from jambonz_workers import App\napp = App()\n"
        "@app.session('/')\nasync def welcome(call):\n    raise RuntimeError('no')\n"
    )
    running = await cluster("failing:app", settings={"PYTHONPATH": str(tmp_path)})
    code, found = await doctor(running)
    assert code == 1
    assert "declined with 500" in found["call"][0]["text"]
    assert "log of the worker" in found["call"][0]["cure"]


async def test_dead_workers_and_a_busy_port_are_found(cluster: ClusterFactory) -> None:
    """No call is played to a cluster that cannot answer it; its events would wait for the next worker."""
    running = await cluster("examples.ivr:app")
    worker = running.workers[0]
    worker.terminate()
    await worker.wait_ended()
    code, found = await doctor(running, "examples.ivr:app")
    assert code == 1
    assert levels(found, "workers") == ["fail"]
    assert found["call"][0]["text"].startswith("not played")
    code, found = await doctor(running, "examples.ivr:app", "--internal-port", "0", "--no-call")
    assert code == 1
    assert "call" not in found
    assert "cannot be had" in found["ports"][0]["text"]


async def test_command_that_the_user_may_not_run_is_named(cluster: ClusterFactory, redis_url: str) -> None:
    """An ACL that lacks one command shows itself in the middle of a call; here it has a name."""
    running = await cluster("examples.ivr:app")
    async with Redis.from_url(redis_url) as admin:
        await admin.acl_setuser(
            "narrow",
            enabled=True,
            passwords=["+pass"],
            keys=["jc:*"],
            channels=["jc:*"],
            commands=["+@all", "-xadd", "-client|kill"],
        )
        try:
            url = redis_url.replace("redis://", "redis://narrow:pass@")
            code, found = await doctor(running, "--no-call", JAMBONZ_CLUSTER_REDIS_URL=url)
        finally:
            await admin.acl_deluser("narrow")
        assert [key async for key in admin.scan_iter("jc:doctor:*")] == []
    assert code == 1
    assert found["redis rights"][0]["text"] == "not allowed on jc:*: client|kill, xadd"


async def test_every_master_of_a_redis_cluster_is_looked_at(redis_cluster: RedisCluster) -> None:
    """One of them that evicts, or is not durable, loses the calls of its slots."""
    settings = CommonSettings(redis_url=redis_cluster.url)
    assert await why_unreachable(settings.redis_url, "jc:apps") == ""
    async with connected(settings) as link:
        await link.wait_up()
        found = await redis_findings(link, Keys())
    assert [finding.check for finding in found].count("clock") == 3
    assert [finding.level.value for finding in found if finding.check == "redis rights"] == ["ok"]


async def test_right_that_is_missing_is_no_redis_that_went_away(redis_url: str) -> None:
    """Its answer says what is missing."""
    async with Redis.from_url(redis_url) as admin:
        await execute(admin, "ACL", "SETUSER", "looker", "on", ">pw", "~*", "&*", "+@all", "-smembers")
        try:
            url = redis_url.replace("redis://", "redis://looker:pw@")
            case = Case(GatewaySettings(redis_url=url), None, "", plays_call=False)
            findings = [finding async for finding in _redis(case)]
        finally:
            await execute(admin, "ACL", "DELUSER", "looker")
    assert findings[-1].level is Level.FAIL
    assert findings[-1].text.startswith("refuses what was to be looked at: NOPERM")
    assert "rights" in findings[-1].cure


async def test_replica_is_no_redis_that_went_away() -> None:
    """It drops nobody: the link leaves it, since it takes nothing."""
    server = EmbeddedRedis(available()["newest"])
    await server.start_async()
    try:
        async with Redis.from_url(server.url) as admin:
            await execute(admin, "REPLICAOF", "127.0.0.1", "1")
        case = Case(GatewaySettings(redis_url=server.url), None, "", plays_call=False)
        findings = [finding async for finding in _redis(case)]
    finally:
        server.stop()
    assert "this server is a replica" in [finding.text for finding in findings]
    assert findings[-1].text == "refuses this process: READONLY"


async def test_redis_that_wants_a_password_is_named() -> None:
    """It accepts connections and refuses commands; the doctor waited for ever."""
    server = EmbeddedRedis(available()["newest"])
    await server.start_async()
    try:
        async with Redis.from_url(server.url) as admin:
            await admin.config_set("requirepass", "secret")
        case = Case(GatewaySettings(redis_url=server.url), None, "", plays_call=False)
        async with asyncio.timeout(10):
            findings = [finding async for finding in _redis(case)]
    finally:
        server.stop()
    assert [(finding.level, finding.check) for finding in findings] == [(Level.FAIL, "redis")]
    assert "NOAUTH" in findings[0].text
