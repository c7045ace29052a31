"""Conversations for people to read."""

import io

from rich.console import Console

from jambonz_simulator.core.records import Entry
from jambonz_simulator.transcript import Conversation


def test_what_a_server_says_tells_a_terminal_nothing() -> None:
    """Whoever plays a call against a server may not know it, nor where it has its texts from."""
    file = io.StringIO()
    verbs = [{"verb": "say", "text": "\x1b]0;owned\x07 \x9b2J\n\u202e J\u00f6rg"}]
    Conversation(Console(file=file, width=200)).show(
        [Entry(0.0, 1, "server", {"type": "ack", "msgid": "m", "data": verbs})]
    )
    assert file.getvalue().removesuffix("\n").isprintable()
    assert "\\x1b]0;owned\\x07 \\x9b2J\\n\\u202e J\u00f6rg" in file.getvalue()
