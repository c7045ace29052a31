"""The 48 pitfalls of PROTOCOL.md section 10 each name tests that exist."""

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
PAGE = REPO / "docs" / "reference" / "pitfalls.md"
PITFALLS = 48


def rows() -> dict[int, list[tuple[str, str]]]:
    found = re.findall(r"^\| P(\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return {int(number): re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row) for number, row in found}


def test_every_pitfall_names_a_test() -> None:
    """Each of them once, and none is left out."""
    assert sorted(rows()) == list(range(1, PITFALLS + 1))
    assert [number for number, tests in rows().items() if not tests] == []


def test_the_named_tests_exist() -> None:
    """A test that was renamed takes its row with it."""
    missing = [
        f"P{number}: {file}::{name}"
        for number, tests in rows().items()
        for file, name in tests
        if not (REPO / file).exists()
        or not re.search(rf"^(?:async )?def {name}\(", (REPO / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
