"""What jambonz sent in the recordings of the real client."""

from collections.abc import Iterator
from typing import Any

import orjson

from tests.recordings import TRANSCRIPTS


def jambonz_frames() -> Iterator[dict[str, Any]]:
    """Every message that jambonz sent in any recording."""
    files = sorted(TRANSCRIPTS.glob("*.jsonl"))
    assert files, f"no recordings in {TRANSCRIPTS}"
    for file in files:
        for line in file.read_bytes().splitlines():
            entry = orjson.loads(line)
            frame = entry.get("frame", {})
            if entry["from"] == "jambonz" and "type" in frame:
                yield frame
