"""Tests that a page of the documentation names: ``tests/x.py::test_y`` in back-ticks."""

import re
from pathlib import Path
from typing import Final, NamedTuple

REPO: Final = Path(__file__).resolve().parents[1]
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


class NamedTest(NamedTuple):
    """A test by its file and function."""

    file: str
    name: str

    @property
    def exists(self) -> bool:
        """Whether there is such a function."""
        path = REPO / self.file
        return path.exists() and bool(re.search(rf"^(?:async )?def {self.name}\(", path.read_text(), re.MULTILINE))


def named_in(text: str) -> list[NamedTest]:
    """Return the tests that a text names, in its order."""
    return [NamedTest(*found) for found in _NAMED.findall(text)]
