"""The websocket port over real TCP: handshakes, refusals, discovery, strangers."""

import asyncio
import base64
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from tests.integration.gateway.gateways import KEYS, RunningGateway, Worker, caller, gateway

UPGRADE = (
    "GET {path} HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{more}\n"
)
SUBPROTOCOL = "Sec-WebSocket-Protocol: ws.jambonz.org\n"


async def publish_manifest(redis: Redis, **changes: Any) -> None:
    """Write what a worker of the default app writes at its start."""
    plain = {"version": 1, "app": "default", "paths": ["/ivr"], "open": False, "env": {}, "fallback": None, "hooks": {}}
    await redis.set(KEYS.app("default"), orjson.dumps(plain | changes))
    await redis.sadd(KEYS.apps, "default")


async def refused(running: RunningGateway, path: str, **options: Any) -> int:
    """Return the HTTP status a websocket client gets instead of the websocket."""
    with pytest.raises(InvalidStatus) as caught:
        async with caller(running.url + path, "call-1", **options):
            pass
    return caught.value.response.status_code


def basic(user_and_password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user_and_password.encode()).decode()}


async def test_subprotocol_is_echoed_at_any_path_before_a_manifest_is_known(redis_url: str) -> None:
    """A fresh cluster takes calls: jambonz aborts without it (pitfall 4), and does not try again after a 404."""
    async with gateway(redis_url) as running, caller(running.url + "/whatever/path?x=1", "call-1") as jambonz:
        assert jambonz.socket.subprotocol == "ws.jambonz.org"


async def test_handshake_takes_a_fraction_of_what_jambonz_allows(redis_url: str) -> None:
    """1.5 s are the limit, without a second try (pitfall 5); ten times the expected 10 ms are a fraction of it."""
    async with gateway(redis_url) as running:
        loop = asyncio.get_running_loop()
        times_s = []
        for number in range(5):
            started_s = loop.time()
            async with caller(running.url + "/", f"call-{number}"):
                times_s.append(loop.time() - started_s)
        assert min(times_s) < 0.1


async def test_manifest_decides_which_paths_exist(redis_url: str, worker: Worker) -> None:
    """Unknown paths are 404 in the handshake; adulting sockets are not unknown (pitfall 36)."""
    await publish_manifest(worker.redis)
    async with (
        gateway(redis_url) as running,
        caller(running.url + "/ivr", "call-1"),
        caller(running.url + "/ivr/adulting", "call-2"),
    ):
        assert await refused(running, "/other") == 404


async def test_unknown_path_is_logged_with_what_is_known_and_not_for_ever(
    redis_url: str, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has misspelt a URL finds out; the path itself may hold secrets, and a scanner must not fill the log."""
    await publish_manifest(worker.redis)
    async with gateway(redis_url) as running:
        for _ in range(30):
            assert await refused(running, "/secret") == 404
    told = [record for record in caplog.records if "no app takes the path" in record.getMessage()]
    assert 0 < len(told) < 30
    known = told[0].__dict__
    assert (known["path_length"], known["apps"], known["address"]) == (7, "default", "127.0.0.1")
    assert "secret" not in str(known)


async def test_app_deployed_a_moment_ago_is_found(redis_url: str, worker: Worker) -> None:
    """The gateway asks Redis again before it says 404."""
    await publish_manifest(worker.redis)
    async with gateway(redis_url) as running:
        await publish_manifest(worker.redis, paths=["/ivr", "/new"])
        async with caller(running.url + "/new", "call-1"):
            pass


async def test_manifest_nobody_can_read_leaves_the_app_as_it_was(redis_url: str, worker: Worker) -> None:
    """A worker of a newer version must not take the old gateways' calls away."""
    await publish_manifest(worker.redis)
    async with gateway(redis_url) as running:
        await publish_manifest(worker.redis, version=2)
        assert await refused(running, "/other") == 404, "which has made the gateway read it"
        async with caller(running.url + "/ivr", "call-1"):
            pass


async def test_requests_for_unknown_paths_share_a_look_at_the_manifests(redis_url: str, worker: Worker) -> None:
    """Anybody may send OPTIONS (PROTOCOL.md 8.1): each cost as many commands of Redis as there are apps."""
    await publish_manifest(worker.redis)
    async with gateway(redis_url) as running:

        async def looks() -> int:
            found: dict[str, Any] = await worker.redis.info("commandstats")
            return int(found["cmdstat_smembers"]["calls"])

        before = await looks()
        answers = await asyncio.gather(*(running.request("OPTIONS /other HTTP/1.1\nHost: x\n\n") for _ in range(200)))
        assert {answer.split(b" ")[1] for answer in answers} == {b"404"}
        assert await looks() - before < 20
        await publish_manifest(worker.redis, paths=["/other"])
        assert b" 204 " in await running.request("OPTIONS /other HTTP/1.1\nHost: x\n\n"), "asked behind the others"


async def test_fallback_that_is_too_long_is_logged_and_the_app_takes_its_calls(
    redis_url: str, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote it finds out by the log; the callers do not."""
    await publish_manifest(worker.redis, fallback=[{"verb": "say", "text": "x" * 24_000}])
    async with gateway(redis_url) as running, caller(running.url + "/ivr", "call-1"):
        pass
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "fallback of an app cannot be used"
    ]


async def test_credentials_are_asked_for_in_the_handshake(redis_url: str, worker: Worker) -> None:
    """The upgrade is not signed: this keeps strangers out (PROTOCOL.md 8.2). OPTIONS carries none (8.1)."""
    await publish_manifest(worker.redis, env={"GREETING": {"type": "string", "description": "hello"}})
    async with gateway(redis_url, basic_auth="jambonz:s3cret") as running:
        assert await refused(running, "/ivr") == 401
        assert await refused(running, "/ivr", additional_headers=basic("jambonz:wrong")) == 401
        async with caller(running.url + "/ivr", "call-1", additional_headers=basic("jambonz:s3cret")):
            pass
        answer = await running.request("OPTIONS /ivr HTTP/1.1\nHost: x\nAccept: application/json\n\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert orjson.loads(body) == {"GREETING": {"type": "string", "description": "hello"}}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param("GET / HTTP/1.1\nHost: x\n\n", 426, id="browser"),
        pytest.param(UPGRADE.format(path="/", more=""), 400, id="no_subprotocol"),
        pytest.param(UPGRADE.format(path="/", more=SUBPROTOCOL + "Upgrade: h2c\n" + SUBPROTOCOL), 426, id="twice"),
        pytest.param(UPGRADE.format(path="/?" + "a=1&" * 60, more=SUBPROTOCOL), 400, id="endless_query"),
    ],
)
async def test_odd_request_gets_a_plain_answer(redis_url: str, text: str, status: int) -> None:
    """P9: strangers get an HTTP status, and the process counts no fault of its own."""
    async with gateway(redis_url) as running:
        answer = await running.request(text)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
        assert await running.metric("jambonz_gateway_failures_total") == 0


async def test_answer_to_head_has_no_body(redis_url: str) -> None:
    """RFC 9110 9.3.2; a balancer that looks whether anybody is there may take a body for the next answer."""
    async with gateway(redis_url) as running:
        answer = await running.request("HEAD / HTTP/1.1\nHost: x\n\n")
        assert answer.startswith(b"HTTP/1.1 426 ")
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n\n", id="nothing"),
        pytest.param("hello\n\n", id="no_http"),
        pytest.param("GET / HTTP/1.1\n" + "X: " + "y" * 100_000 + "\n\n", id="endless_header"),
        pytest.param("\x16\x03\x01\x02", id="tls"),
    ],
)
async def test_stranger_who_speaks_no_http_is_dropped(redis_url: str, text: str) -> None:
    """P9: scanners knock at every port; whatever they send, jambonz can still call."""
    async with gateway(redis_url) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.settings.port)
        writer.write(text.encode())
        writer.close()
        async with caller(running.url + "/", "call-1") as jambonz:
            assert jambonz.socket.subprotocol == "ws.jambonz.org"
        assert await running.metric("jambonz_gateway_failures_total") == 0


async def test_message_over_the_limit_closes_its_socket_only(redis_url: str) -> None:
    """Memory is bounded; 1009 says why (PROTOCOL.md 1.1)."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-2") as other:
        async with caller(running.url + "/", "call-1") as jambonz:
            await jambonz.socket.send("x" * (running.settings.max_event_bytes + 1))
            assert await jambonz.close_code() == 1009
        await other.socket.ping()
        assert other.socket.close_code is None
