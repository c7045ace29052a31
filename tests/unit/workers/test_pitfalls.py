"""The 49 pitfalls of PROTOCOL.md section 10 each name tests that exist."""

import re

from tests.named_tests import REPO, NamedTest, named_in

PAGE = REPO / "docs" / "reference" / "pitfalls.md"
PITFALLS = 49


def rows() -> dict[int, list[NamedTest]]:
    found = re.findall(r"^\| P(\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return {int(number): named_in(row) for number, row in found}


def test_every_pitfall_names_a_test() -> None:
    """Each of them once, and none is left out."""
    assert sorted(rows()) == list(range(1, PITFALLS + 1))
    assert [number for number, tests in rows().items() if not tests] == []


def test_the_named_tests_exist() -> None:
    """A test that was renamed takes its row with it."""
    missing = [f"P{number}: {test}" for number, tests in rows().items() for test in tests if not test.exists]
    assert missing == []
