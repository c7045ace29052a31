"""Calls driven by hand over real websockets: loss, reconnect, oversize, waiting (LiveCall)."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from jambonz_simulator import (
    JAMBONZ_TIMING,
    CallOptions,
    HangUp,
    NotInTime,
    Press,
    Script,
    SendHook,
    WaitForVerb,
    live_call,
    simulate_call,
)
from tests.conditions import until
from tests.integration.simulator.application_double import GOODBYE, WELCOME, Application, http_answer
from tests.integration.simulator.paces import PATIENT, QUICK, raw_server


async def test_call_is_driven_by_hand() -> None:
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        verb = await call.wait_for_verb("gather")
        assert verb["actionHook"] == "/menu"
        record = await call.send_hook("/count", {"x": 1}, args={"Y": 2})
        assert record.is_acked
        call.send_notice("verb:status", {"event": "x"})
        await until(lambda: "verb:status" in app.kinds(), "the notice arrived")
        await app.command("tag", {"a": 1})
        command = await call.wait_for_command("tag")
        assert command.verdict == "ignored"
        assert call.anomalies == ["command_ignored"]
        assert call.is_connected
        await call.press("1")
        result = await call.wait_for_end()
    assert result is call.result
    assert result.call_sid == call.call_sid
    assert app.frames[2][1]["data"]["call_status"] == "in-progress"


async def test_first_thing_the_server_says_is_not_lost() -> None:
    """A server may speak before jambonz does: the frame arrives with the answer to the upgrade."""

    async def say_hello_first(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "session:new":
            await app.ack(socket, frame, WELCOME)

    class Hasty(Application):
        async def _serve_socket(self, socket: ServerConnection) -> None:
            await socket.send(json.dumps({"type": "ping"}))
            await super()._serve_socket(socket)

    async with Hasty(say_hello_first).running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        assert call.anomalies == ["invalid_message"]


async def test_fragments_and_binary_frames_are_read() -> None:
    """PROTOCOL.md 1.1."""

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "session:new":
            ack = json.dumps({"type": "ack", "msgid": frame["msgid"], "data": WELCOME})
            await socket.send([ack[:20], ack[20:]])
            await socket.ping()
        elif frame["type"] == "verb:hook":
            await socket.send(json.dumps({"type": "ack", "msgid": frame["msgid"], "data": GOODBYE}).encode())

    async with Application(answer).running() as app:
        result = await simulate_call(app.url, Script(steps=(Press("1"),)), PATIENT)
    assert result.is_good


async def test_lost_socket_is_replaced_and_the_call_goes_on() -> None:
    async with Application().running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("gather")
        call.drop_socket()
        await call.wait_for_sockets(2)
        await call.wait_for_hook(kind="session:reconnect")
        assert app.requests[1].path == "/ivr"
        await call.press("1")
        result = await call.wait_for_end()
    assert (result.sockets, result.reconnects, result.outcome.kind) == (2, 1, "completed")


@pytest.mark.parametrize("code", [1001, 1012])
async def test_socket_closed_by_the_server_is_replaced(code: int) -> None:
    async with Application().running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("gather")
        await app.socket.close(code)
        await call.wait_for_hook(kind="session:reconnect")
        assert {"close": code} in [entry.frame for entry in call.core.world.ledger.entries]
        call.hang_up()
        assert (await call.wait_for_end()).outcome.kind == "completed"


async def test_socket_aborted_by_the_server_is_a_1006() -> None:
    async with Application().running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("gather")
        app.abort()
        await call.wait_for_hook(kind="session:reconnect")
        assert {"close": 1006} in [entry.frame for entry in call.core.world.ledger.entries]


async def test_back_off_is_kept_in_real_time() -> None:
    """PROTOCOL.md 1.4: 0.5 s, here 0.05 s and then 0.1 s."""

    async def pause(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"].startswith("session:"):
            await app.ack(socket, frame, [{"verb": "pause", "length": 3600}])

    async with Application(pause).running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("pause")
        for count in (1, 2):
            app.abort()
            await call.wait_for_hook(kind="session:reconnect", count=count)
        entries = call.core.world.ledger.entries
        lost = [entry.t_s for entry in entries if entry.frame == {"close": 1006}]
        opened = [entry.t_s for entry in entries if "http" in entry.frame]
    waits_s = [back - gone for gone, back in zip(lost, opened[1:], strict=True)]
    assert waits_s[0] > 0.049
    assert waits_s[1] > 0.099


async def test_503_with_connection_close_stops_reconnects() -> None:
    """PROTOCOL.md 1.4, pitfall 6."""
    async with Application().running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("gather")
        app.refusal = lambda _: http_answer(503, Connection="close")
        app.abort()
        await call.wait_for("the attempt failed", lambda c: "failed" in c.core.world.ledger.entries[-1].frame)
        wakes_at_s = call.core.wakes_at_s
        assert wakes_at_s is None or call.core.session.requestor.is_quiet
        assert not call.is_connected


async def test_oversize_message_is_closed_with_1009() -> None:
    async with Application().running() as app, live_call(app.url, options=QUICK) as call:
        await call.wait_for_verb("gather")
        first = app.socket
        await first.send("x" * 24_577)
        await call.wait_for_hook(kind="session:reconnect")
        await until(lambda: first.close_code is not None, "the server saw the close")
        assert first.close_code == 1009
        assert call.anomalies == ["oversize"]


async def test_oversize_message_in_the_closing_phase_crashes_the_feature_server() -> None:
    """Pitfall 1: the server answers the final status with a huge frame."""

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "session:new":
            await app.ack(socket, frame, WELCOME)
        elif frame["data"].get("call_status") == "completed":
            # More than the buffers hold, so that it is still under way when jambonz closes.
            for _ in range(400):
                await socket.send("x" * 24_577)

    options = CallOptions(speed=50, timing=JAMBONZ_TIMING.scaled(0.0001))
    async with Application(answer).running() as app, live_call(app.url, options=CallOptions(speed=50)) as call:
        await call.wait_for_verb("gather")
        call.core.world.timing = options.timing
        call.hang_up()
        result = await call.wait_for_end()
    assert result.outcome.kind == "crashed"


async def test_socket_that_jambonz_never_closes_is_an_anomaly_unless_reaped() -> None:
    """Pitfall 31."""
    script = Script(steps=(WaitForVerb("gather"), SendHook("/drop"), HangUp()))

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "session:new":
            await app.ack(socket, frame, WELCOME)
        elif frame.get("hook") == "/drop":
            app.abort()
        elif frame["data"].get("call_status") == "completed" and is_tidy:
            await socket.close()

    options = CallOptions(speed=50, orphan_linger_s=0.2)
    for is_tidy in (False, True):
        async with Application(answer).running() as app:
            result = await simulate_call(app.url, script, options)
        kinds = [anomaly.kind for anomaly in result.anomalies]
        assert ("orphan_not_reaped" in kinds) is not is_tidy
        assert result.outcome.kind == "completed"


async def test_what_did_not_happen_in_time_is_told_with_the_transcript() -> None:
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        with pytest.raises(NotInTime, match=r"not within 0\.05 s: verb 'dial' runs; the last lines"):
            await call.wait_for_verb("dial", timeout_s=0.05)


async def test_waiting_ends_with_the_call() -> None:
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        waiting = asyncio.create_task(call.wait_for_verb("dial"))
        await asyncio.sleep(0)
        call.hang_up()
        with pytest.raises(NotInTime, match="the call ended before"):
            await waiting
        with pytest.raises(NotInTime, match="the call ended before"):
            await call.wait_for_verb("dial")


async def test_input_that_the_verb_does_not_take_is_told() -> None:
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        with pytest.raises(NotInTime, match="takes no speech"):
            await call.say("hello")
        await call.wait_for_verb("gather")
        await app.command("redirect", [{"verb": "gather", "input": ["speech"], "actionHook": "/said"}])
        await call.wait_for("a speech gather", lambda c: (c.current_verb or {}).get("actionHook") == "/said")
        with pytest.raises(NotInTime, match="takes no digits"):
            await call.press("1")
        await call.say("hello")
        assert (await call.wait_for_hook("/said")).is_acked


async def test_raw_text_goes_past_all_rules() -> None:
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        call.send_raw('{"type":"odd","data":{}}')
        call.send_raw(b'{"type":"odder","data":{}}')
        await until(lambda: app.kinds()[-1:] == ["odder"], "the raw frames arrived")
        call.drop_socket()
        with pytest.raises(NotInTime, match="no open socket"):
            call.send_raw("{}")


async def test_redirect_verb_opens_a_second_socket() -> None:
    """PROTOCOL.md 2.5."""
    async with Application().running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        await app.command("redirect", [{"verb": "redirect", "actionHook": f"ws://127.0.0.1:{app.port}/b?cid=1"}])
        record = await call.wait_for_hook(kind="session:redirect")
        assert (record.connection, app.requests[1].path) == (2, "/b?cid=1")
        call.hang_up()
        await call.wait_for_end()
        await until(lambda: [s.close_code for s in app.sockets] == [1000, 1000], "both sockets are closed")


async def test_server_that_does_not_answer_the_close_frame_is_dropped() -> None:
    """The simulator waits 5 s; leaving drops the socket at once."""

    class Deaf(Application):
        async def _serve_socket(self, socket: ServerConnection) -> None:
            await super()._serve_socket(socket)

    async with Deaf().running() as app, live_call(app.url, options=PATIENT) as call:
        await call.wait_for_verb("gather")
        app.socket.transport.pause_reading()
        call.hang_up()
        await call.wait_for(
            "jambonz closes", lambda c: {"close": 1000} in [e.frame for e in c.core.world.ledger.entries]
        )
        assert call.result is None
        app.socket.transport.resume_reading()
        assert (await call.wait_for_end()).outcome.kind == "completed"


async def test_leaving_while_a_socket_opens_is_clean() -> None:
    done = asyncio.Event()

    async def be_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with raw_server(be_silent) as url:
        async with live_call(url) as call:
            await asyncio.sleep(0)
            assert not call.is_connected
        await call.leave()
        done.set()


async def test_call_that_was_left_does_not_reconnect() -> None:
    """Leaving drops the socket, which must not look like a lost one."""
    async with Application().running() as app:
        async with live_call(app.url, options=QUICK) as call:
            await call.wait_for_verb("gather")
        await until(lambda: app.socket.close_code is not None, "the server noticed")
        # Whoever loses a socket later comes back later: by then this one would have.
        async with live_call(app.url, options=QUICK) as other:
            await other.wait_for_verb("gather")
            other.drop_socket()
            await other.wait_for_sockets(2)
    assert len(app.requests) == 3
