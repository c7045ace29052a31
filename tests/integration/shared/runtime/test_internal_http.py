"""The internal HTTP of a process, asked over a real socket."""

import asyncio
import json

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from jambonz_shared.runtime.http import internal_http


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_unready_process_is_healthy_and_says_why_it_is_unready() -> None:
    """An orchestrator takes it out of service but does not restart it."""
    reasons: dict[str, str | None] = {"redis": None, "drain": None}
    checks = {"redis": lambda: reasons["redis"], "drain": lambda: reasons["drain"]}
    async with internal_http("127.0.0.1", 0, checks, CollectorRegistry()) as http:
        assert (await get(http.port, "/readyz"))[0] == 200
        reasons["redis"] = "no answer for 3s"
        status, body = await get(http.port, "/readyz")
        assert status == 503
        assert json.loads(body) == {
            "ready": False,
            "checks": {"redis": {"ok": False, "reason": "no answer for 3s"}, "drain": {"ok": True, "reason": ""}},
        }
        assert await get(http.port, "/healthz") == (200, "ok\n")


async def test_metrics_are_those_of_the_given_registry() -> None:
    """Each process hands its own numbers to Prometheus."""
    registry = CollectorRegistry()
    Counter("acks_sent", "Acks written to a websocket.", registry=registry).inc(3)
    async with internal_http("127.0.0.1", 0, {}, registry) as http:
        status, text = await get(http.port, "/metrics")
    assert status == 200
    assert "acks_sent_total 3.0" in text


async def test_unknown_page_is_not_found() -> None:
    """Nothing else is offered on the internal port."""
    async with internal_http("127.0.0.1", 0, {}, CollectorRegistry()) as http:
        assert (await get(http.port, "/"))[0] == 404


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"\x16\x03\x01\r\n",
    ],
    ids=["long", "many_headers", "tls"],
)
async def test_request_that_is_none_leaves_no_traceback(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reaches the port could fill the log, and with it what they have sent."""
    async with internal_http("127.0.0.1", 0, {}, CollectorRegistry()) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(request_)
        assert b" 400 " in await reader.readline()
        writer.close()
    assert not caplog.records


async def test_error_of_our_own_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A check that raises is a bug."""
    async with internal_http("127.0.0.1", 0, {"broken": lambda: str(1 / 0)}, CollectorRegistry()) as http:
        assert (await get(http.port, "/readyz"))[0] == 500
    assert "ZeroDivisionError" in caplog.text
