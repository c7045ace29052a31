"""Recordings of the real client played against real websockets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from jambonz_simulator import Recording, load_recording, read_recording, replay
from jambonz_simulator.recording import retarget
from jambonz_simulator.sockets import OpenFailed
from tests.integration.simulator.application_double import Application, http_answer
from tests.recordings import TRANSCRIPTS


def recordings() -> list[Path]:
    paths = sorted(TRANSCRIPTS.glob("*.jsonl"))
    assert paths, f"no recordings in {TRANSCRIPTS}"
    return paths


def answers_of(recording: Recording) -> dict[str, list[dict[str, Any]]]:
    """Give for each jambonz message what the server said on that connection before the next one."""
    answers: dict[str, list[dict[str, Any]]] = {}
    last: dict[int, str] = {}
    for line in recording.frames:
        if line.is_from_jambonz and line.is_message:
            last[line.connection] = line.frame["msgid"]
        elif not line.is_from_jambonz and line.is_message:
            answers.setdefault(last[line.connection], []).append(line.frame)
    return answers


class Parrot(Application):
    """Answers as recorded, but for what ``change`` makes of it."""

    def __init__(self, recording: Recording, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        super().__init__(self._repeat)
        self._recording = recording
        self._change = change

    async def _repeat(self, _app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        for recorded in answers_of(retarget(self._recording, self.url)).get(frame["msgid"], []):
            for answer in self._change(recorded):
                await socket.send(json.dumps(answer))


def unchanged(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame]


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
async def test_recording_is_equal_to_itself(path: Path) -> None:
    recording = load_recording(path)
    async with Parrot(recording, unchanged).running() as app:
        result = await replay(app.url, recording, pace=0)
    assert result.is_equal, "\n".join(result.differences())
    assert result.late == []
    sent = [line.frame for line in retarget(recording, app.url).frames if line.is_from_jambonz and line.is_message]
    assert [frame for _, frame in app.frames] == sent


async def test_paths_beyond_the_recorded_one_are_kept() -> None:
    recording = load_recording(TRANSCRIPTS / "call-adulting.jsonl")
    async with Parrot(recording, unchanged).running() as app:
        await replay(app.url, recording, pace=0)
    assert [request.path for request in app.requests] == ["/ivr", "/ivr/adulting"]


def with_other_text(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**frame, "data": [{"verb": "say", "text": "other"}]}]


def twice(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame, frame]


def nothing(_frame: dict[str, Any]) -> list[dict[str, Any]]:
    return []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(with_other_text, "line 5, connection 1, ack t3Zu8XULWWVs8ovafwGuwS: data[0].verb", id="other"),
        pytest.param(twice, "connection 1: extra ack", id="twice"),
        pytest.param(nothing, "line 3, connection 1, ack 7zd3g9oFWLh3XF37znywcP: missing", id="nothing"),
    ],
)
async def test_server_that_answers_otherwise_is_told(change: Any, expected: str) -> None:
    recording = load_recording(TRANSCRIPTS / "hello.jsonl")
    async with Parrot(recording, change).running() as app:
        result = await replay(app.url, recording, pace=0, limit_s=0.2)
    assert not result.is_equal
    assert any(line.startswith(expected) for line in result.differences()), result.differences()
    assert bool(result.late) == (change is nothing)


def small_recording(*frames: tuple[str, dict[str, Any]], t_ms: float = 0) -> Recording:
    opening = ("jambonz", {"http": "GET", "path": "/conformance", "subprotocol": "ws.jambonz.org"})
    lines = [
        json.dumps({"t_ms": t_ms * index, "connection": 1, "from": who, "frame": frame})
        for index, (who, frame) in enumerate([opening, *frames])
    ]
    return read_recording("\n".join(lines), "small")


async def test_swapped_frames_are_out_of_order() -> None:
    commands = [{"type": "command", "command": "redirect", "data": [n]} for n in (1, 2)]
    recording = small_recording(
        ("jambonz", {"type": "call:status", "msgid": "m", "data": {}}),
        *[("server", command) for command in commands],
    )

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        for command in reversed(commands):
            await socket.send(json.dumps(command))

    async with Application(answer).running() as app:
        result = await replay(app.url, recording, pace=0)
    assert [match.differences for match in result.matches] == [["out of order"], []]


async def test_frame_that_is_no_json_is_extra_and_a_close_is_told() -> None:
    recording = small_recording(
        ("jambonz", {"type": "call:status", "msgid": "m", "data": {}}),
        ("server", {"type": "ack", "msgid": "m"}),
        ("jambonz", {"type": "call:status", "msgid": "n", "data": {}}),
    )

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        await socket.send("no json")
        await socket.close(1011)

    async with Application(answer).running() as app:
        result = await replay(app.url, recording, pace=0, limit_s=2)
    assert [extra.frame for extra in result.extra] == [{"text": "no json"}]
    assert result.closed_by_server == {1: 1011}
    assert "connection 1: closed by the server with 1011" in result.differences()


async def test_recorded_pace_is_kept() -> None:
    recording = small_recording(
        ("jambonz", {"type": "call:status", "msgid": "m", "data": {}}), ("jambonz", {"close": 1000}), t_ms=50
    )
    arrivals: list[float] = []

    async def answer(app: Application, socket: ServerConnection, frame: dict[str, Any]) -> None:
        arrivals.append(1)

    async with Application(answer).running() as app:
        import asyncio

        started_at_s = asyncio.get_running_loop().time()
        await replay(app.url, recording)
        took_s = asyncio.get_running_loop().time() - started_at_s
    assert took_s >= 0.1


async def test_recording_of_another_path_goes_there() -> None:
    lines = [
        {"t_ms": 0, "connection": 1, "from": "jambonz", "frame": {"http": "GET", "path": "/a", "subprotocol": "x"}},
        {"t_ms": 0, "connection": 2, "from": "jambonz", "frame": {"http": "GET", "path": "/other", "subprotocol": "x"}},
    ]
    recording = read_recording("\n".join(json.dumps(line) for line in lines), "two")
    async with Application().running() as app:
        await replay(app.url, recording, credentials=("ada", "pw"))
    assert [request.path for request in app.requests] == ["/ivr", "/other"]
    assert all("Authorization" in request.headers for request in app.requests)


async def test_refused_websocket_ends_the_replay() -> None:
    async with Application().running() as app:
        app.refusal = lambda _: http_answer(403)
        with pytest.raises(OpenFailed, match="HTTP 403"):
            await replay(app.url, load_recording(TRANSCRIPTS / "hello.jsonl"))
