"""The recordings of the real jambonz client, in the shared folder beside the repository."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

REPO = Path(__file__).resolve().parents[3]
TRANSCRIPTS = REPO.parent / "shared" / "transcripts"


def jambonz_frames() -> Iterator[dict[str, Any]]:
    """Every message that jambonz sent in any recording."""
    files = sorted(TRANSCRIPTS.glob("*.jsonl"))
    assert files, f"no recordings in {TRANSCRIPTS}: the folder shared/ must lie beside the repository"
    for file in files:
        for line in file.read_bytes().splitlines():
            entry = orjson.loads(line)
            frame = entry.get("frame", {})
            if entry["from"] == "jambonz" and "type" in frame:
                yield frame
