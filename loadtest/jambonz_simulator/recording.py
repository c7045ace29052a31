"""Recordings of the real jambonz client: one JSON object a line.

A line is ``{"t_ms", "connection", "from": "jambonz" | "server", "frame"}``; the frame is a message,
``{"http": "GET", "path", "subprotocol"}`` for the opening, or ``{"close": code}``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One line of a recording; ``index`` is its place in the file, from 0."""

    index: int
    t_s: float
    connection: int
    is_from_jambonz: bool
    frame: dict[str, Any]

    @property
    def is_message(self) -> bool:
        """True for a message, false for an opening or a close."""
        return "type" in self.frame

    @property
    def payload(self) -> bytes:
        """The message as jambonz writes it: compact JSON, keys in the recorded order."""
        return orjson.dumps(self.frame)


@dataclass(frozen=True, slots=True)
class Recording:
    """All frames of a recording, in order."""

    name: str
    frames: tuple[RecordedFrame, ...]

    @property
    def base_path(self) -> str:
        """The path of the first opening; those of the others are relative to it."""
        for line in self.frames:
            if "http" in line.frame:
                return str(line.frame["path"])
        raise ValueError(f"recording {self.name!r} opens no websocket")


def load_recording(path: Path | str) -> Recording:
    """Read a recording.

    Raises:
        ValueError: If a line is not what the module describes; the message names it.
    """
    path = Path(path)
    return read_recording(path.read_text(encoding="utf-8"), path.stem)


def read_recording(text: str, name: str) -> Recording:
    """Read a recording from its text; see `load_recording`."""
    frames = []
    for index, line in enumerate(text.splitlines()):
        try:
            value = orjson.loads(line)
            who = value["from"]
            frame = RecordedFrame(index, value["t_ms"] / 1000, value["connection"], who == "jambonz", value["frame"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"recording {name!r}, line {index + 1}: {error!r}") from None
        if who not in ("jambonz", "server"):
            raise ValueError(f"recording {name!r}, line {index + 1}: expected jambonz or server, got {who!r}")
        frames.append(frame)
    return Recording(name, tuple(frames))


def retarget(recording: Recording, url: str) -> Recording:
    """Give the recording with the application's recorded URL replaced by ``url`` in all messages.

    Only ``ws://HOST/BASE-PATH`` is replaced, so other websockets named in verbs stay.
    """
    recorded = re.compile(r"wss?://[^/\"\s]+" + re.escape(recording.base_path) + r"(?![\w-])")
    frames = tuple(
        RecordedFrame(line.index, line.t_s, line.connection, line.is_from_jambonz, _replaced(line.frame, recorded, url))
        for line in recording.frames
    )
    return Recording(recording.name, frames)


def _replaced(value: Any, recorded: re.Pattern[str], url: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, recorded, url) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, recorded, url) for item in value]
    return recorded.sub(lambda _: url, value) if isinstance(value, str) else value
