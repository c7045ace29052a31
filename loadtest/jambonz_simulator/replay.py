"""Plays the jambonz side of a recording against a server, for comparison with the recorded server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from jambonz_simulator.comparison import differences
from jambonz_simulator.core.timing import JAMBONZ_TIMING
from jambonz_simulator.recording import RecordedFrame, Recording, retarget
from jambonz_simulator.sockets import Socket, open_socket


@dataclass(slots=True)
class FrameMatch:
    """A recorded server frame and the one that came instead.

    Attributes:
        actual: ``None`` if none came.
        is_in_order: False if a frame recorded later on this connection had come before.
    """

    expected: RecordedFrame
    actual: dict[str, Any] | None = None
    is_in_order: bool = True

    @property
    def differences(self) -> list[str]:
        """What is different, empty if nothing."""
        if self.actual is None:
            return ["missing"]
        lines = differences(self.expected.frame, self.actual)
        return lines if self.is_in_order else [*lines, "out of order"]


@dataclass(frozen=True, slots=True)
class ExtraFrame:
    """What the server sent beyond the recording; ``{"text": ...}`` if it was not JSON."""

    connection: int
    frame: dict[str, Any]


@dataclass(slots=True)
class ReplayResult:
    """What the server did, compared with what was recorded.

    Attributes:
        matches: One for each recorded server message, in the order of the recording.
        extra: Messages that belong to none of them.
        closed_by_server: Close codes of sockets that the server ended before jambonz did.
        late: Jambonz frames that were sent without what they waited for.
    """

    matches: list[FrameMatch]
    extra: list[ExtraFrame] = field(default_factory=list)
    closed_by_server: dict[int, int] = field(default_factory=dict)
    late: list[RecordedFrame] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """True if the server did exactly what was recorded, per connection and in order."""
        return not self.differences()

    def differences(self) -> list[str]:
        """Give one line per difference, with line number and connection of the recording."""
        lines = []
        for match in self.matches:
            what = _named(match.expected.frame)
            place = f"line {match.expected.index + 1}, connection {match.expected.connection}, {what}"
            lines += [f"{place}: {line}" for line in match.differences]
        lines += [f"connection {extra.connection}: extra {_named(extra.frame)}: {extra.frame}" for extra in self.extra]
        lines += [
            f"connection {number}: closed by the server with {code}" for number, code in self.closed_by_server.items()
        ]
        return lines


def _named(frame: dict[str, Any]) -> str:
    detail = frame.get("command") or frame.get("msgid") or ""
    return f"{frame.get('type', 'frame')} {detail}".strip()


class _Replay:
    """The state of one replay; the Listener of its sockets."""

    def __init__(self, recording: Recording) -> None:
        servers = [line for line in recording.frames if not line.is_from_jambonz and line.is_message]
        self.result = ReplayResult([FrameMatch(line) for line in servers])
        self.sockets: dict[int, Socket] = {}
        self._closed: set[int] = set()
        self._arrived = asyncio.Event()

    def frames_received(self, connection: int, payloads: Sequence[bytes]) -> None:
        """Find the recorded frames that these are: equal, else those they stand for."""
        for payload in payloads:
            self._frame_received(connection, payload)

    def _frame_received(self, connection: int, payload: bytes) -> None:
        try:
            frame = orjson.loads(payload)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            frame = {"text": payload.decode("utf-8", "replace")}
        open_ones = [m for m in self.result.matches if m.expected.connection == connection and m.actual is None]
        match = next((m for m in open_ones if not differences(m.expected.frame, frame)), None)
        match = match or next((m for m in open_ones if _stands_for(frame, m.expected.frame)), None)
        if match is None:
            self.result.extra.append(ExtraFrame(connection, frame))
        else:
            match.actual = frame
            match.is_in_order = not any(
                m.actual is not None and m.expected.index > match.expected.index
                for m in self.result.matches
                if m.expected.connection == connection
            )
        self._arrived.set()

    def socket_closed(self, connection: int, code: int) -> None:
        """Note a close that jambonz had not asked for."""
        if connection not in self._closed:
            self.result.closed_by_server[connection] = code
        self._arrived.set()

    async def wait_for_frames_before(self, line: RecordedFrame, limit_s: float) -> bool:
        """Wait for the server's frames recorded before this line; false if some did not come.

        Frames of connections that the server has closed are not waited for.
        """
        waits_for = [m for m in self.result.matches if m.expected.index < line.index]

        def is_ready() -> bool:
            gone = self.result.closed_by_server
            return all(m.actual is not None or m.expected.connection in gone for m in waits_for)

        try:
            async with asyncio.timeout(limit_s):
                while not is_ready():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def close(self, connection: int, code: int) -> None:
        """Close as recorded."""
        self._closed.add(connection)
        if connection in self.sockets:
            self.sockets[connection].close(code)

    def abort_all(self) -> None:
        """Drop what is still open."""
        self._closed.update(self.sockets)
        for socket in self.sockets.values():
            socket.abort()


def _stands_for(actual: dict[str, Any], expected: dict[str, Any]) -> bool:
    """An ack stands for that of its msgid, a command for the next one of its name."""
    if actual.get("type") != expected.get("type"):
        return False
    key = "msgid" if actual.get("type") == "ack" else "command"
    return bool(actual.get(key) == expected.get(key))


async def replay(
    url: str,
    recording: Recording,
    *,
    credentials: tuple[str, str] | None = None,
    limit_s: float = 5.0,
    pace: float = 1.0,
) -> ReplayResult:
    """Play the jambonz frames of a recording against ``url`` and compare what the server does.

    A frame is sent when all server frames recorded before it have come (or, after ``limit_s``,
    without them: see ``late``), and not sooner after its predecessor than recorded, times ``pace``.
    The recorded URL of the application is replaced by ``url`` in messages and openings. Cancellation
    drops all sockets.

    Raises:
        OpenFailed: If the server refuses a websocket.
    """
    recording = retarget(recording, url)
    state = _Replay(recording)
    base_path = recording.base_path
    loop = asyncio.get_running_loop()
    previous_s, sent_at_s = 0.0, loop.time()
    try:
        for line in recording.frames:
            if not line.is_from_jambonz:
                continue
            if not await state.wait_for_frames_before(line, limit_s):
                state.result.late.append(line)
            await asyncio.sleep(sent_at_s + (line.t_s - previous_s) * pace - loop.time())
            previous_s, sent_at_s = line.t_s, loop.time()
            await _perform(state, line, _target(url, base_path, line), credentials)
        last = recording.frames[-1]
        end = RecordedFrame(last.index + 1, last.t_s, 0, True, {})
        await state.wait_for_frames_before(end, limit_s)
    finally:
        state.abort_all()
    return state.result


async def _perform(state: _Replay, line: RecordedFrame, target: str, credentials: tuple[str, str] | None) -> None:
    if "http" in line.frame:
        socket = await open_socket(line.connection, target, credentials, JAMBONZ_TIMING.handshake_timeout_s, state)
        state.sockets[line.connection] = socket
        socket.release()
    elif "close" in line.frame:
        state.close(line.connection, line.frame["close"])
    else:
        state.sockets[line.connection].send_text(line.payload)
        state.sockets[line.connection].flush()


def _target(url: str, base_path: str, line: RecordedFrame) -> str:
    """Give the URL of an opening: the target's, with what the recorded path adds to its base."""
    path = str(line.frame.get("path", ""))
    if not path.startswith(base_path):
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{path}"
    return url + path.removeprefix(base_path)
