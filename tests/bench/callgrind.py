"""Instructions that a process takes, counted by callgrind: unlike times, nearly the same on a busy machine."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TOTAL: Final = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def under_callgrind(counts: Path, command: Sequence[str | Path]) -> tuple[str | Path, ...]:
    """Return the command that runs ``command`` and writes its counts to a file."""
    return ("valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", *command)


def instructions_in(counts: Path) -> int:
    """Return how many instructions a finished process took, its start and end included."""
    found = _TOTAL.search(counts.read_text())
    assert found, "callgrind has counted"
    return int(found[1])
