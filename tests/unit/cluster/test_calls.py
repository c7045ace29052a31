"""How live calls are listed."""

import json

from jambonz_cluster.calls import COLUMNS, table_text
from jambonz_cluster.output import json_text


def row(*values: str) -> dict[str, str]:
    return dict(zip(COLUMNS, values, strict=True))


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    """A list can be read and cut into columns."""
    rows = [row("c1", "ivr", "/ivr", "in-progress", "w1"), row("call-22", "x", "/", "", "")]
    assert table_text(rows).splitlines() == [
        "call_sid  app  path  status       owner",
        "c1        ivr  /ivr  in-progress  w1",
        "call-22   x    /",
    ]


def test_empty_list_says_so() -> None:
    """Nothing printed could also be a mistake."""
    assert table_text([]) == "no live calls"


def test_what_a_peer_says_tells_a_terminal_nothing() -> None:
    """The status is jambonz's, or anybody's who has the credentials."""
    [_, line] = table_text([row("c1", "ivr", "/\x1b]0;owned\x07", "in-progress\x1b[2J", "w1")]).splitlines()
    assert line.isprintable()
    assert "in-progress" in line


def test_json_tells_a_terminal_nothing_and_a_program_all() -> None:
    """`calls show` has facts and state: customer data, what callers have said."""
    value = {"customerData": "\x1b]0;owned\x07 \x9b2J \x7f \u202e \U000e0001 \n", "from": "J\u00f6rg \u65e5\u672c"}
    text = json_text(value)
    assert text.isprintable()
    assert json.loads(text) == value
    assert "J\u00f6rg \u65e5\u672c" in text
