"""Deletions: each entry once, many at a time, before too many are gathered."""

from typing import cast

import pytest

from jambonz_shared.keys import GROUP
from jambonz_workers.delivery import Entry, Source
from jambonz_workers.outbox import Outbox
from jambonz_workers.sweeper import Sweeper
from tests.conditions import until

pytestmark = pytest.mark.sources_only(because="a compiled Sweeper takes no double in the place of an Outbox")


class OutboxDouble:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def send(self, _: object, *args: object) -> None:
        self.sent.append(args)


def sweeper() -> tuple[Sweeper, OutboxDouble]:
    outbox = OutboxDouble()
    return Sweeper(cast("Outbox", outbox), "inbox", "dispatch"), outbox


async def test_what_is_gathered_is_deleted_once() -> None:
    """An entry of dispatch is acknowledged, too: otherwise it would be handed on when the worker dies."""
    it, outbox = sweeper()
    for source, entry_id in ((Source.INBOX, b"1"), (Source.DISPATCH, b"2"), (Source.INBOX, b"3")):
        it.remove(Entry(source, entry_id, 0))
    deleted = [(b"XDEL", "inbox", b"1", b"3"), (b"XACK", "dispatch", GROUP, b"2"), (b"XDEL", "dispatch", b"2")]
    await until(lambda: outbox.sent == deleted, "they are deleted together")
    it.flush()
    it.remove(Entry(Source.INBOX, b"4", 0))
    await until(lambda: outbox.sent == [*deleted, (b"XDEL", "inbox", b"4")], "the next is deleted alone")


async def test_a_hundred_entries_are_deleted_at_once() -> None:
    """A command of any length would hold up Redis for everybody."""
    it, outbox = sweeper()
    ids = [b"%d" % n for n in range(101)]
    for entry_id in ids:
        it.remove(Entry(Source.INBOX, entry_id, 0))
    assert outbox.sent == [(b"XDEL", "inbox", *ids[:100])]
    it.flush()
    assert outbox.sent[1:] == [(b"XDEL", "inbox", ids[100])]
