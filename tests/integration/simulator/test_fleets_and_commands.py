"""Many calls, printed calls, and the functions behind ``jambonz-cluster simulate``."""

import io
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from rich.console import Console
from websockets.asyncio.server import ServerConnection

from jambonz_simulator import (
    JAMBONZ_TIMING,
    CallOptions,
    Load,
    Press,
    Script,
    Summary,
    built_in_scripts,
    load_script,
    run_fleet,
    simulate_call,
)
from jambonz_simulator.cli import run_simulate
from jambonz_simulator.transcript import Conversation, print_end, print_summary
from tests.integration.simulator.application_double import GOODBYE, WELCOME, Application, running_in_a_process

FAST = CallOptions(speed=100)
SHORT = Script(steps=(Press("1"),), patience_s=10)


async def wait_for_digits(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
    """An IVR whose gather waits for ever, so that a busy machine hears no silence."""
    if frame["type"] == "session:new":
        await app.ack(socket, frame, [{**WELCOME[1], "timeout": 0}])
    elif frame["type"] == "verb:hook":
        await app.ack(socket, frame, GOODBYE)


async def test_fleet_sums_up_its_calls() -> None:
    seen: list[int] = []
    async with Application(wait_for_digits).running() as app:
        script = Script(steps=(Press("1"),))
        summary = await run_fleet(app.url, script, Load(20, 200), FAST, lambda s: seen.append(s.calls))
    assert summary.is_good, summary
    assert (summary.calls, summary.hooks, summary.acked) == (20, 40, 40)
    assert seen == list(range(1, 21))
    assert 0 < summary.latency_s(0.5) <= summary.latency_s(1.0)


async def test_calls_of_a_fleet_have_their_own_call_sids() -> None:
    async with Application().running() as app:
        await run_fleet(app.url, "ivr", Load(5, 500), CallOptions(speed=100, seed=7))
    sids = {frame["call_sid"] for _, frame in app.frames}
    assert len(sids) == 5


async def test_calls_come_at_their_rate_even_if_the_server_is_slow() -> None:
    """The open model: 10 calls at 100 a second start within a tenth of a second, though each lasts longer."""

    async def never(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if len(app.sockets) == 10 and frame["type"] == "session:new":
            for one in app.sockets:
                await one.close(1000)

    async with Application(never).running() as app:
        quick = CallOptions(timing=replace(JAMBONZ_TIMING, ack_timeout_s=1.0))
        summary = await run_fleet(app.url, SHORT, Load(10, 100), quick)
    assert len(app.sockets) == 10
    assert summary.outcomes == {"rejected": 10}


async def test_concurrency_is_bounded_and_delays_are_counted() -> None:
    async with Application().running() as app:
        summary = await run_fleet(app.url, SHORT, Load(6, 10_000, concurrency=2), FAST)
    assert summary.calls == 6
    assert summary.delayed_calls >= 1


async def test_failing_server_is_told_by_the_summary() -> None:
    async def refuse(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        await app.ack(socket, frame, [])

    async with Application(refuse).running() as app:
        summary = await run_fleet(app.url, "hello", Load(7, 1000), FAST)
    assert (summary.failed, summary.outcomes) == (7, {"rejected": 7})
    text = printed(summary)
    assert "rejected 7" in text
    assert "no application provided" in text


@pytest.mark.long
def test_1000_calls_at_100_a_second_fit_on_a_shared_core(record_property: Callable[[str, object], None]) -> None:
    """The trivial server runs in a process of its own; what is measured is the simulator alone."""
    with running_in_a_process() as url:
        before = resource.getrusage(resource.RUSAGE_SELF)
        summary = uvloop.run(run_fleet(url, "ivr", Load(1000, 100), CallOptions(speed=20)))
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_ms_per_call = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("cpu_ms_per_call", cpu_ms_per_call)
    assert summary.is_good, summary
    assert summary.calls == 1000
    # 4 ms measured on an idle machine of the kind that runs these tests; at 10 ms a core would be full.
    assert cpu_ms_per_call < 10


def printed(what: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    if isinstance(what, Summary):
        print_summary(console, what)
    else:
        Conversation(console).show(what.entries)
        print_end(console, what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_transcript_reads_like_a_conversation() -> None:
    async with Application(wait_for_digits).running() as app:
        result = await simulate_call(app.url, Script(steps=(Press("1"),)), FAST)
    text = printed(result)
    for line in (
        "opens /ivr",
        "session:new from +14155550111 to +14155550100 (inbound)",
        'gather "/menu"',
        "call:status in-progress",
        "presses 1",
        'verb:hook /menu reason "dtmfDetected", digits "1"',
        'say "Goodbye", hangup',
        "closes with 1000",
        "completed (by jambonz), 2 of 2 hooks acked in time",
    ):
        assert line in text


async def test_transcript_tells_of_everything_unusual() -> None:
    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind == "session:new":
            await app.ack(socket, frame, [{"verb": "gather", "say": {"text": "Press"}, "actionHook": "/menu"}, 7])
            return
        if kind == "call:status" and frame["data"]["call_status"] == "in-progress":
            await app.command("redirect", {"call_hook": "/next"})
            await socket.send("no json")
            await app.ack(socket, {"msgid": "nobody"})
        elif kind == "session:redirect":
            there = [{"verb": "redirect", "actionHook": f"ws://127.0.0.1:{app.port}/b"}]
            await app.ack(socket, frame, there if frame["hook"] == "/next" else GOODBYE)

    async with Application(answer).running() as app:
        rejected = await simulate_call(app.url, SHORT, FAST)
        app.answer = valid_then(answer)
        result = await simulate_call(app.url, Script(steps=(Press("1"),), patience_s=100), FAST)
    assert "invalid" in printed(rejected) or "malformed" in printed(rejected)
    text = printed(result)
    for line in (
        "command redirect: {'call_hook': '/next'}",
        "text no json",
        "jambonz:error",
        "opens /b #2",
        "unknown_ack",
    ):
        assert line in text, text
    assert all(len(line.split(maxsplit=2)) == 3 for line in text.splitlines()), "each line says something"


def valid_then(answer: Any) -> Any:
    async def valid(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "session:new":
            await app.ack(socket, frame, WELCOME)
        else:
            await answer(app, socket, frame)

    return valid


def test_one_call_is_printed_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    with Application().running_in_a_thread() as app:
        assert run_simulate(app.url, script="ivr", speed=100) == 0
    assert "presses 1" in capsys.readouterr().out


@pytest.mark.parametrize("digits", ["abc", "1,2", ""])
def test_what_no_phone_can_press_is_wrong_usage(digits: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No application hears it; the call seemed to be played."""
    assert run_simulate("ws://127.0.0.1:1/", press=("1", digits)) == 2
    assert capsys.readouterr().err == f"--press {digits!r}: expected digits, 0 to 9, * and #\n"


def test_digits_of_the_command_line_are_pressed_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has to write a file to try a menu."""

    async def ask_twice(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        is_over = frame.get("data", {}).get("digits") == "9"
        if frame["type"] in ("session:new", "verb:hook"):
            await app.ack(socket, frame, GOODBYE if is_over else [{**WELCOME[1], "timeout": 0}])

    with Application(ask_twice).running_in_a_thread() as app:
        assert run_simulate(app.url, press=("5", "9"), speed=100) == 0
    out = capsys.readouterr().out
    assert out.index("presses 5") < out.index("presses 9")


async def test_a_conversation_is_told_while_it_goes_on() -> None:
    """Somebody who waits for half a minute wants to see for what."""
    lengths: list[int] = []
    async with Application(wait_for_digits).running() as app:
        result = await simulate_call(app.url, SHORT, FAST, lambda entries: lengths.append(len(entries)))
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3
    assert lengths[-1] == len(result.entries)


def test_one_call_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with Application().running_in_a_thread() as app:
        assert run_simulate(app.url, script="ivr", speed=100, as_json=True) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["outcome"]["kind"] == "completed"
    assert value["entries"][0]["frame"]["path"] == "/ivr"


@pytest.mark.parametrize("as_json", [False, True])
def test_many_calls_are_summed_up(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    with Application().running_in_a_thread() as app:
        assert run_simulate(app.url, script="ivr", calls=5, rate=100, speed=100, as_json=as_json) == 0
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["outcomes"] == {"completed": 5}
    else:
        assert "completed 5" in out


@pytest.mark.parametrize("calls", [1, 3])
def test_failed_calls_exit_1(calls: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        await app.ack(socket, frame, [])

    app = Application(refuse)
    with app.running_in_a_thread():
        assert run_simulate(app.url, calls=calls, rate=100) == 1
    assert "rejected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "script", "message"),
    [
        ("ws://127.0.0.1:1/", "nonsense", "no script 'nonsense'"),
        ("http://127.0.0.1:1/", "hello", "expected ws://host/path"),
        ("ws://127.0.0.1:99999/", "hello", "expected ws://host/path"),
        ("wss://host:abc/", "hello", "expected ws://host/path"),
        ("ws://a..b/", "hello", "expected ws://host/path"),
    ],
)
def test_what_cannot_be_used_exits_2(url: str, script: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_simulate(url, script=script) == 2
    assert message in capsys.readouterr().err


def test_script_of_a_file_is_played_and_impatient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that says nothing about patience does not wait for ever on the command line."""
    path = tmp_path / "mine.json"
    path.write_text('{"steps": [{"do": "stay_silent"}]}')
    with Application().running_in_a_thread() as app:
        assert run_simulate(app.url, script=str(path), speed=1000) == 0
    assert "hangs up" in capsys.readouterr().out


def test_script_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        load_script(str(path))


@pytest.mark.parametrize("name", built_in_scripts())
def test_built_in_script_can_be_read(name: str) -> None:
    assert load_script(name).name == name


def test_goodbye_ends_the_call() -> None:
    """The double's own last word, on which the tests above rely."""
    assert GOODBYE[-1] == {"verb": "hangup"}
