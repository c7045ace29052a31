"""Replies of scripts become values; anything else is an error that tells no payload."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import Keys
from jambonz_shared.redis import scripts
from jambonz_shared.redis.scripts import (
    Attach,
    Attached,
    CallKeys,
    CallRecord,
    Changes,
    Claimed,
    Committed,
    Duplicate,
    Ended,
    Fenced,
    Full,
    Gone,
    Orphaned,
    OtherApp,
    OwnedBy,
    Ownership,
    Queued,
    StillLive,
)
from jambonz_shared.redis.scripts.recovery import Abandoned, Memory, Restored

CALL = CallKeys.of(Keys("x:"), "sid")
ALL_KEYS = ("x:call:{sid}", "x:chan:{sid}")
OWNERSHIP = Ownership(CALL, "w1", 7, 1000)


@pytest.mark.parametrize(
    ("read", "reply", "expected"),
    [
        (scripts.attach_reply, [b"app", b"other"], OtherApp("other")),
        (
            scripts.attach_reply,
            [b"ok", 3, b"w1", 9, 4, 1, 0, b"1,3", b"ivr", 1, b"w0"],
            Attached(3, "w1", 9, 4, True, False, (1, 3), "ivr", is_passed_over=True, former_owner="w0"),
        ),
        (scripts.detach_reply, 0, 0),
        (scripts.detach_reply, -1, Gone()),
        (scripts.claim_reply, [b"gone"], Gone()),
        (scripts.claim_reply, [b"owned", b"w2"], OwnedBy("w2")),
        (scripts.claim_reply, [b"app", b"other"], OtherApp("other")),
        (scripts.claim_reply, [b"ok", 5, b"app", b"ivr"], Claimed(5, CallRecord(app="ivr"))),
        (scripts.commit_reply, 5, Committed(5)),
        (scripts.commit_reply, [b"dup", 5], Duplicate(5)),
        (scripts.commit_reply, [b"fenced", b""], Fenced("")),
        (scripts.commit_reply, [b"gone"], Gone()),
        (scripts.send_reply, [b"ok", 5, b"g1"], Queued(5, "g1")),
        (scripts.send_reply, [b"full", 1000], Full(1000)),
        (scripts.send_reply, [b"gone"], Gone()),
        (scripts.undelivered_reply, [4, b"one", 10, b"two"], [(4, b"one"), (10, b"two")]),
        (scripts.undelivered_reply, [], []),
        (scripts.end_reply, [b"ok"], Ended()),
        (scripts.end_reply, [b"live"], StillLive()),
        (scripts.end_reply, [b"fenced", b"w2"], Fenced("w2")),
        (scripts.end_reply, [b"gone"], Gone()),
        (scripts.orphan_reply, [b"ok"], Orphaned()),
        (scripts.orphan_reply, [b"other", b"w2"], OwnedBy("w2")),
        (scripts.orphan_reply, [b"gone"], Gone()),
        (scripts.abandon_reply, [-1], Gone()),
        (scripts.abandon_reply, [1, b"w1", b"ivr"], Abandoned(1, "w1", "ivr")),
        (scripts.restore_reply, [b"ok", 2], Restored(2)),
        (scripts.restore_reply, [b"fenced", b"w2"], Fenced("w2")),
        (scripts.bury_reply, 1, True),
        (scripts.bury_reply, 0, False),
    ],
)
def test_reply_is_read(read: Callable[[Any], object], reply: object, expected: object) -> None:
    """Each answer of architecture.md section 6 has one value."""
    assert read(reply) == expected


@pytest.mark.parametrize(
    "read",
    [
        scripts.attach_reply,
        scripts.detach_reply,
        scripts.claim_reply,
        scripts.commit_reply,
        scripts.send_reply,
        scripts.end_reply,
        scripts.orphan_reply,
        scripts.bury_reply,
        scripts.abandon_reply,
        scripts.restore_reply,
    ],
)
@pytest.mark.parametrize("reply", [[b"new", b"secret"], [], None, b"ok"], ids=["word", "empty", "nil", "text"])
def test_unknown_reply_is_an_error_without_payload(read: Callable[[Any], object], reply: object) -> None:
    """A process of another version wrote the script; the reply may hold what a caller said."""
    with pytest.raises(BadFormat) as raised:
        read(reply)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("reply", [[b"new", b"secret"], [4], None, b"ok"], ids=["words", "odd", "nil", "text"])
def test_unknown_log_is_an_error_without_payload(reply: object) -> None:
    """As for the others; an empty one is none."""
    with pytest.raises(BadFormat) as raised:
        scripts.undelivered_reply(reply)
    assert "secret" not in str(raised.value)


def test_record_is_read_from_all_kinds_of_fields() -> None:
    """The hash holds single fields, and families under ``b:``, ``c:``, ``d:`` and ``s:``; batches are for gateways."""
    hash_fields = {
        b"app": b"ivr", b"path": b"/p", b"gateway": b"g1", b"epoch": b"2", b"owner": b"w1", b"fence": b"9",
        b"seq": b"4", b"acked": b"1", b"facts": b"{}", b"status": b"ringing", b"live": b"1",
        b"c:2": b"g1\x1fmain", b"d:1": b"10", b"d:2": b"3", b"s:tries": b"1", b"s:s:x": b"2", b"b:4": b"batch",
    }  # fmt: skip
    flat = [part for pair in hash_fields.items() for part in pair]
    assert scripts.call_record(flat) == CallRecord(
        app="ivr",
        path="/p",
        gateway="g1",
        epoch=2,
        owner="w1",
        fence=9,
        seq=4,
        is_acked=True,
        facts=b"{}",
        status="ringing",
        committed={1: 10, 2: 3},
        live={2: ("g1", "main")},
        state={"tries": b"1", "s:x": b"2"},
    )


def test_record_of_a_fresh_call_is_empty() -> None:
    """Absent texts are empty, absent numbers 0."""
    assert scripts.call_record([]) == CallRecord()


def test_arguments_are_in_the_order_of_the_scripts() -> None:
    """What a script calls ARGV[1] is the first here."""
    attach = Attach("g1", "ivr", "/p", "side", 1000, is_reconnect=True, epoch_known=2, seq_known=3)
    attach = replace(attach, owner_known="w1", fence_known=4, is_acked_known=True)
    assert scripts.attach_args(CALL, attach) == (ALL_KEYS, ("g1", "ivr", "/p", "side", 1000, 1, 2, 3, "w1", 4, 1))
    assert scripts.detach_args(CALL, 2, 60) == (ALL_KEYS, (2, 60))
    assert scripts.claim_args(CALL, "w1", "ivr") == (ALL_KEYS, ("w1", 0, "ivr"))
    assert scripts.claim_args(CALL, "w1", "ivr", is_young=True)[1] == ("w1", 1, "ivr")
    assert scripts.send_args(CALL, 60, b"batch") == (ALL_KEYS, (60, b"batch", 0, 1000))
    assert scripts.send_args(CALL, 60, b"batch", is_young=True)[1] == (60, b"batch", 1, 1000)
    assert scripts.undelivered_args(CALL, 4) == ((CALL.call,), (4,))
    assert scripts.batch_field(5) == "b:5"
    assert scripts.acked_args(CALL, 7, b"left") == ((CALL.call,), ("b:7", b"left"))
    assert scripts.end_args(OWNERSHIP) == (ALL_KEYS, ("w1", 7))
    assert scripts.orphan_args(CALL, "w1") == (ALL_KEYS, ("w1",))
    assert scripts.heartbeat_args("x:workers", "w1") == (("x:workers",), ("w1",))
    assert scripts.retire_args("x:dispatch:{ivr}", "w1") == (("x:dispatch:{ivr}",), ("workers", "w1"))


def test_commit_takes_its_changes_as_fields_of_the_hash() -> None:
    """Most commits change none, and so are short; a name that the application chose never is a field of ours."""
    keys, args = scripts.commit_args(OWNERSHIP, (2, 3), b"batch")
    assert (keys, args) == (ALL_KEYS, ("w1", 7, 2, 3, 1000, b"batch", 0))
    changes = Changes(b"{}", "ringing", {"owner": b"1", "b": b""})
    _, args = scripts.commit_args(OWNERSHIP, (2, 3), b"", changes, previous=1, renews=False)
    pairs = ("facts", b"{}", "status", "ringing", "s:owner", b"1", "s:b", b"")
    assert args == ("w1", 7, 2, 3, 0, b"", 1, *pairs)
    assert len(scripts.commit_args(OWNERSHIP, (2, 3), b"", Changes(state={"a": b"1"}))[1]) == 9


def test_memory_goes_as_pairs_of_numbers_and_of_fields() -> None:
    """The number of the first comes before them; the others go on to the end."""
    memory = Memory("ivr", b"{}", "ringing", {1: 4, 2: 7}, {"a": b"1"})
    head = ("w1", 7, "ivr", 60, b"{}", "ringing", 2)
    assert scripts.restore_args(OWNERSHIP, memory, 60) == (ALL_KEYS, (*head, 1, 4, 2, 7, "a", b"1"))
    assert scripts.abandon_args(CALL, "g1", 60) == (ALL_KEYS, ("g1", 60))


def test_every_script_has_its_file_and_the_architecture_names_it() -> None:
    """The table of architecture.md section 6 and the folder say the same."""
    from jambonz_shared.redis import script

    folder = Path(script.__file__).parent / "lua"
    files = {path.stem for path in folder.glob("*.lua")}
    page = Path(__file__).parents[4] / "docs" / "explanation" / "architecture.md"
    section = page.read_text().split("## 6. Scripts")[1].split("\n## ")[0]
    table = set(re.findall(r"^\| (\w+) \|", section, re.MULTILINE)) - {"script"}
    assert files == {one.name for one in script.ALL} == table
