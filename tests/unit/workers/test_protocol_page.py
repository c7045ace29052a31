"""Every row of PROTOCOL.md 2.2 and 3.2 names a test with real processes, and one of the simulator's own."""

import re

import pytest

from jambonz_shared.kinds import KINDS
from jambonz_simulator.core.commands import KNOWN_COMMANDS
from jambonz_workers.capabilities import COMMANDS
from tests.named_tests import REPO, NamedTest, named_in

PAGE = REPO / "docs" / "reference" / "protocol.md"


def rows(section: str) -> dict[str, tuple[list[NamedTest], list[NamedTest]]]:
    """Return the tests of the two last columns by what the row is about."""
    text = PAGE.read_text().partition(f"## {section}")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)`[^|]* \|(.*)\|(.*)\|$", text, re.MULTILINE)
    return {name: (named_in(driven), named_in(simulated)) for name, driven, simulated in found}


def test_no_row_is_left_out() -> None:
    """What jambonz sends and takes, as code knows it."""
    assert set(rows("Messages")) == set(KINDS) | {"queue:status"}
    commands = {fact.name for fact in COMMANDS.values() if not fact.is_commercial}
    assert {name.split(" ")[0] for name in rows("Commands")} == commands == KNOWN_COMMANDS


@pytest.mark.parametrize("section", ["Messages", "Commands"])
def test_every_row_names_tests_of_both_sorts_that_exist(section: str) -> None:
    """Through gateway, Redis and worker; and that the simulator does what jambonz does."""
    for name, (driven, simulated) in rows(section).items():
        if name == "queue:status":
            # jambonz never sends it over a websocket.
            continue
        assert driven, name
        assert simulated, name
        assert all(test.file.startswith("tests/integration/") for test in driven), name
        assert all(test.file.startswith("tests/unit/simulator/") for test in simulated), name
        assert [test for test in (*driven, *simulated) if not test.exists] == [], name
