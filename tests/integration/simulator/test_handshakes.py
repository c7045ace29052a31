"""Handshakes that fail: who is tried again, who is not (PROTOCOL.md 1.1, 1.2)."""

import asyncio
import re
import socket as sockets
from typing import Any

import pytest
from websockets.utils import accept_key

from jambonz_simulator import (
    JAMBONZ_TIMING,
    CallOptions,
    Press,
    Script,
    live_call,
    simulate_call,
)
from tests.conditions import until
from tests.integration.simulator.application_double import Application, http_answer
from tests.integration.simulator.paces import QUICK, SWIFT, raw_server


async def test_server_without_the_subprotocol_is_refused_at_once() -> None:
    """PROTOCOL.md 1.1, pitfall 4."""
    async with Application().running(subprotocol="other") as app:
        result = await simulate_call(app.url, "hello", QUICK)
    assert (result.outcome.kind, result.outcome.reason) == ("failed", "no subprotocol")


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_http_refusal_fails_at_once(status: int) -> None:
    """PROTOCOL.md 1.2."""
    async with Application().running() as app:
        app.refusal = lambda _: http_answer(status)
        result = await simulate_call(app.url, "hello", QUICK)
    assert (result.outcome.kind, result.outcome.reason) == ("failed", f"HTTP {status}")
    assert len(app.requests) == 1


async def test_refused_connection_is_retried_and_found_when_the_server_is_back() -> None:
    app = Application()
    async with app.running():
        pass

    options = CallOptions(speed=50, timing=JAMBONZ_TIMING.scaled(0.5))
    async with live_call(app.url, Script(steps=(Press("1"),)), options) as call:
        entries = call.core.world.ledger.entries
        await until(lambda: any("failed" in entry.frame for entry in entries), "it was refused")
        async with app.running():
            result = await call.wait_for_end()
    assert result.outcome.kind == "completed"


async def test_connection_nobody_takes_fails_after_six_attempts() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = await simulate_call(f"ws://127.0.0.1:{port}/", "hello", SWIFT)
    assert (result.outcome.kind, result.outcome.reason) == ("failed", "refused")
    assert sum("failed" in entry.frame for entry in result.entries) == 6


async def test_host_that_does_not_exist_fails_at_once() -> None:
    result = await simulate_call("ws://no-such-host.invalid/", "hello", QUICK)
    assert result.outcome.reason in ("dns", "handshake timeout")


async def test_server_that_does_not_answer_in_time_is_given_up() -> None:
    """PROTOCOL.md 1.1, pitfall 5: 1.5 s, here scaled to 0.15 s."""
    done = asyncio.Event()

    async def be_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with raw_server(be_silent) as url:
        result = await simulate_call(url, "hello", CallOptions(timing=JAMBONZ_TIMING.scaled(0.1)))
        done.set()
    assert result.outcome.reason == "handshake timeout"


async def test_server_that_resets_before_the_answer_is_tried_again() -> None:
    """PROTOCOL.md 1.2: "socket hang up" is retried."""
    attempts = 0

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.transport.abort()

    async with raw_server(hang_up) as url:
        result = await simulate_call(url, "hello", SWIFT)
    assert (result.outcome.reason, attempts) == ("reset", 6)


async def test_server_that_speaks_no_http_fails() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async with raw_server(babble) as url:
        result = await simulate_call(url, "hello", SWIFT)
    assert result.outcome.kind == "failed"


async def test_redirects_are_followed_twice_and_drop_credentials_for_another_host() -> None:
    """PROTOCOL.md 1.1."""
    async with Application().running() as app:

        def redirect(request: Any) -> Any:
            hosts = {"/a": f"http://127.0.0.1:{app.port}/b", "/b": f"ws://localhost:{app.port}/c"}
            target = hosts.get(request.path)
            return http_answer(302, Location=target) if target else None

        app.refusal = redirect
        options = CallOptions(credentials=("ada", "pw"), speed=50)
        url = f"ws://127.0.0.1:{app.port}/a"
        result = await simulate_call(url, Script(steps=(Press("1"),)), options)
    assert result.outcome.kind == "completed"
    assert ["Authorization" in request.headers for request in app.requests] == [True, True, False]


async def test_third_redirect_is_not_followed() -> None:
    async with Application().running() as app:
        app.refusal = lambda _: http_answer(302, Location="/again")
        result = await simulate_call(app.url, "hello", QUICK)
    assert (result.outcome.reason, len(app.requests)) == ("HTTP 302", 3)


async def test_tls_to_a_server_that_speaks_something_else_fails_at_once() -> None:
    """PROTOCOL.md 1.2."""

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async with raw_server(babble) as url:
        result = await simulate_call(url.replace("ws:", "wss:"), "hello", QUICK)
    assert (result.outcome.kind, result.outcome.reason) == ("failed", "tls")


async def test_server_that_ends_the_tls_handshake_without_a_word_is_a_reset() -> None:
    """It is retried, as Node tells it like any reset."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with raw_server(hang_up) as url:
        result = await simulate_call(url.replace("ws:", "wss:") + "#rc=1", "hello", SWIFT)
    assert result.outcome.reason == "reset"


@pytest.mark.parametrize("location", ["http://[bad", "ftp://x/", "ws://127.0.0.1:99999/", "ws://a..b/"])
async def test_redirect_to_what_is_no_url_fails_at_once(location: str) -> None:
    """The library that jambonz uses refuses it; the call must end with a result."""
    async with Application().running() as app:
        app.refusal = lambda _: http_answer(302, Location=location)
        result = await asyncio.wait_for(simulate_call(app.url, "hello", QUICK), 10)
    assert (result.outcome.kind, result.outcome.reason) == ("failed", "invalid url")


@pytest.mark.parametrize(
    "frame", [pytest.param(b"\xff\xff\xff\xff", id="malformed"), pytest.param(b"\x81\x85abcd12345", id="masked")]
)
async def test_server_that_breaks_the_framing_and_stays_is_left(monkeypatch: pytest.MonkeyPatch, frame: bytes) -> None:
    """It never closes TCP: the socket is dropped after the time that a closing handshake may take."""
    monkeypatch.setattr("jambonz_simulator.sockets.CLOSE_TIMEOUT_S", 0.1)
    done = asyncio.Event()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", request)
        assert key is not None
        writer.write(
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: ws.jambonz.org\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key[1].decode()).encode() + b"\r\n\r\n"
        )
        await reader.readexactly(2)
        writer.write(frame)
        await done.wait()
        writer.close()

    options = CallOptions(speed=50, timing=JAMBONZ_TIMING.scaled(0.05))
    async with raw_server(babble) as url:
        result = await asyncio.wait_for(simulate_call(f"{url}#rc=1", Script(patience_s=1), options), 10)
        done.set()
    assert result.outcome.kind != "completed"
    assert not result.is_good
