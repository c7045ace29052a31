"""Whole calls over real websockets: conversation, upgrade, end."""

from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from jambonz_simulator import (
    CallOptions,
    HangUp,
    Press,
    Script,
    ScriptError,
    Speak,
    Wait,
    simulate_call,
)
from tests.conditions import until
from tests.integration.simulator.application_double import GOODBYE, Application
from tests.integration.simulator.paces import PATIENT, QUICK


async def test_ivr_call_runs_to_its_end() -> None:
    async with Application().running() as app:
        result = await simulate_call(app.url, "ivr", PATIENT)
    assert result.is_good, result
    assert result.outcome.reason == "by jambonz"
    # A caller whose time runs out while the machine stands still is asked once more.
    assert [hook.kind for hook in result.hooks][:3] == ["session:new", "verb:hook", "verb:hook"]
    assert {hook.kind for hook in result.hooks[3:]} <= {"verb:hook"}
    assert app.kinds()[:3] == ["session:new", "call:status", "call:status"]
    assert app.kinds()[-1] == "call:status"


async def test_upgrade_looks_like_jambonz() -> None:
    """PROTOCOL.md 1.1."""
    async with Application().running() as app:
        url = app.url.replace("/ivr", "/ivr?tenant=42#rc=2")
        await simulate_call(url, Script(steps=(Press("1"),)), PATIENT)
    request = app.requests[0]
    assert request.path == "/ivr?tenant=42"
    assert request.headers["User-Agent"] == "jambonz"
    assert request.headers["Sec-WebSocket-Protocol"] == "ws.jambonz.org"
    assert "Authorization" not in request.headers
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_credentials_are_sent() -> None:
    async with Application().running() as app:
        await simulate_call(app.url, Script(steps=(Press("1"),)), CallOptions(credentials=("ada", "pw"), speed=50))
    assert app.requests[0].headers["Authorization"] == "Basic YWRhOnB3"


async def test_close_frame_of_jambonz_has_code_1000() -> None:
    async with Application().running() as app:
        await simulate_call(app.url, Script(steps=(Press("1"),)), PATIENT)
        await until(lambda: app.socket.close_code is not None, "the server saw the close")
    assert app.socket.close_code == 1000


async def test_built_in_outbound_and_busy_calls() -> None:
    async with Application().running() as app:
        answered = await simulate_call(app.url, "outbound", PATIENT)
        busy = await simulate_call(app.url, "busy", QUICK)
    assert (answered.outcome.kind, busy.outcome.kind) == ("completed", "unanswered")


async def test_speech_call() -> None:
    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        gather = {"verb": "gather", "input": ["speech"], "actionHook": "/said"}
        if frame["type"] == "session:new":
            await app.ack(socket, frame, [gather])
        elif frame["type"] == "verb:hook":
            await app.ack(socket, frame, GOODBYE)

    async with Application(answer).running() as app:
        result = await simulate_call(app.url, "speech", PATIENT)
    assert result.is_good


async def test_unknown_script_is_told() -> None:
    with pytest.raises(ScriptError, match="no script 'nonsense'"):
        await simulate_call("ws://127.0.0.1:1/", "nonsense")


async def test_caller_who_only_speaks_and_waits() -> None:
    """Steps that time out people, not the protocol."""
    script = Script(steps=(Wait(1), Speak("hello"), HangUp()))
    async with Application().running() as app:
        result = await simulate_call(app.url, script, PATIENT)
    assert result.outcome.reason == "by caller"
