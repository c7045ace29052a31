"""docs/adr: every decision is in the index, and has the form that the first one asks for."""

import re
from pathlib import Path

import pytest

ADR = Path(__file__).resolve().parents[2] / "docs" / "adr"
PAGES = sorted(ADR.glob("[0-9]*.md"))


def test_the_index_has_every_decision_in_order() -> None:
    """Whoever looks for a reason finds it by its title; a number that is missing is explained."""
    shown = re.findall(r"^\| (\d+) \| (?:\[(.+)\]\((.+)\)|none: .+) \|$", (ADR / "README.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in shown] == list(range(1, len(shown) + 1))
    titles = {page.name: page.read_text().splitlines()[0] for page in PAGES}
    assert {name: f"# {number}. {title}" for number, title, name in shown if name} == titles


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_its_date_its_status_and_its_reasons(page: Path) -> None:
    """A page is not rewritten: its status says what has come of it (ADR 0001)."""
    text = page.read_text()
    assert re.search(r"^Date: 20\d\d-\d\d-\d\d\. Status: \w+", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:2] == ["Context", "Decision"]
