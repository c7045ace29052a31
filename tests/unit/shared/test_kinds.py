"""Every message kind jambonz sends, and what is said when nobody answers."""

import json

import pytest

from jambonz_shared.kinds import (
    ACK_DEADLINE_S,
    DETACHED,
    ENDED,
    KINDS,
    TAKEOVER,
    TIMER,
    TRANSFERRED,
    Fallback,
    is_ours,
    kind_of,
)
from tests.recordings import TRANSCRIPTS


def test_hooks_are_those_of_the_protocol() -> None:
    """PROTOCOL.md 2.2: acking one too many or one too few costs a call (pitfalls 15 and 16)."""
    assert {name for name, kind in KINDS.items() if kind.is_hook} == {
        "session:new",
        "session:reconnect",
        "session:redirect",
        "session:adulting",
        "verb:hook",
        "dial:confirm",
    }


def test_every_recorded_type_is_known() -> None:
    """What the real client sends has an entry; nothing is treated as unknown by a slip of the pen."""
    files = sorted(TRANSCRIPTS.glob("*.jsonl"))
    assert files, f"expected the recordings of the real jambonz client in {TRANSCRIPTS}, found none"
    entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    types = {entry["frame"].get("type") for entry in entries if entry["from"] == "jambonz" and "frame" in entry}
    assert types - {None} <= set(KINDS)


def test_recorded_answers_fit_the_table() -> None:
    """The reference server acked exactly the kinds that we call Hooks."""
    for file in sorted(TRANSCRIPTS.glob("*.jsonl")):
        frames = [json.loads(line) for line in file.read_text().splitlines()]
        acked = {entry["frame"]["msgid"] for entry in frames if entry.get("frame", {}).get("type") == "ack"}
        asked = {
            entry["frame"]["msgid"]: entry["frame"]["type"]
            for entry in frames
            if entry["from"] == "jambonz" and "msgid" in entry.get("frame", {})
        }
        assert {asked[msgid] for msgid in acked if msgid in asked} <= {n for n, kind in KINDS.items() if kind.is_hook}


def test_deadline_leaves_room_for_the_wire() -> None:
    """Jambonz gives up after 5 s (PROTOCOL.md 2.3, pitfall 7)."""
    assert ACK_DEADLINE_S < 5.0


def test_unknown_type_is_a_notice() -> None:
    """A stray ack would do harm, no ack to a notice does none (PROTOCOL.md 2.12, pitfall 15)."""
    kind = kind_of("agent:not-invented-yet")
    assert kind.name == "agent:not-invented-yet"
    assert kind.fallback is Fallback.NONE
    assert not kind.is_hook


@pytest.mark.parametrize("name", [ENDED, TAKEOVER, DETACHED, TRANSFERRED, TIMER])
def test_kinds_of_our_own_cannot_be_jambonz_s(name: str) -> None:
    """They travel in the same streams (P9)."""
    assert is_ours(name)
    assert name not in KINDS


def test_no_kind_of_jambonz_is_taken_for_ours() -> None:
    """A gateway would drop it."""
    assert [name for name in KINDS if is_ours(name)] == []
