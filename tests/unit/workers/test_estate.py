"""What a dead worker leaves behind is read in parts of bounded size, in order."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.link import Link
from jambonz_workers.estate import PART_BYTES, Part, left_behind, pending_of
from jambonz_workers.redelivery import mark_of, redelivery

INBOX, DISPATCH = "inbox", "dispatch"


class LinkDouble:
    """Answers XRANGE from lists of entries."""

    def __init__(self, **streams: list[Any]) -> None:
        self.streams = streams
        self.read: list[int] = []

    def call(self, command: bytes, stream: str, start: bytes, end: bytes, *options: object) -> "asyncio.Future[Any]":
        assert command == b"XRANGE"
        after = int(start.removeprefix(b"(")) if start.startswith(b"(") else -1
        found = [
            entry for entry in self.streams[stream] if (entry[0] == start if start == end else int(entry[0]) > after)
        ]
        if options:
            name, count = options
            assert name == b"COUNT"
            assert isinstance(count, int)
            found = found[:count]
            self.read.append(sum(len(fields[1]) for _, fields in found))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reply.set_result(found)
        return reply


def entries(start: int, count: int, size_bytes: int) -> list[Any]:
    return [[b"%d" % n, [b"e", event(n, size_bytes).encode()]] for n in range(start, start + count)]


def event(n: int, size_bytes: int = 2) -> Envelope:
    return Envelope("a", 1, n, "verb:hook", f"m{n}", 0, "g", is_acked=False, body=b"y" * size_bytes)


async def parts_of(link: LinkDouble, pending: list[bytes]) -> list[Part]:
    return [part async for part in left_behind(cast("Link", link), DISPATCH, pending, INBOX)]


async def test_large_inbox_comes_in_parts_that_a_link_takes() -> None:
    """All at once is more than a Link takes (32 MiB), so that its calls would never be adopted."""
    link = LinkDouble(inbox=entries(1, 600, 100_000), dispatch=[])
    parts = await parts_of(link, [])
    assert [one.n for part in parts for one in part.envelopes] == list(range(1, 601))
    assert [one for part in parts for one in part.taken] == [b"%d" % n for n in range(1, 601)]
    assert max(part.size_bytes for part in parts) < 2 * PART_BYTES
    assert max(link.read) <= PART_BYTES, "what is read at one go"
    assert [part.is_first for part in parts] == [True] + [False] * (len(parts) - 1)


async def test_ordinary_inbox_is_one_part_in_few_reads() -> None:
    """Callers wait, and those with hooks come first among all."""
    link = LinkDouble(inbox=entries(1, 900, 500), dispatch=[])
    [part] = await parts_of(link, [])
    assert len(part.envelopes) == 900
    assert len(link.read) <= 7


async def test_entries_of_dispatch_come_before_those_of_the_inbox() -> None:
    """The first event of a call comes through dispatch; an entry that is gone is acknowledged all the same."""
    link = LinkDouble(inbox=entries(100, 2, 10), dispatch=[*entries(1, 60, 200_000), *entries(80, 1, 10)])
    parts = await parts_of(link, [b"%d" % n for n in range(1, 71)])
    assert [one.n for part in parts for one in part.envelopes] == [*range(1, 61), 100, 101]
    assert [one for part in parts for one in part.pending] == [b"%d" % n for n in range(1, 71)]
    assert len(parts) > 1


async def test_all_events_of_an_entry_are_handed_on() -> None:
    """Gateways pack what comes together."""
    packed = [b"1", [field for n in (1, 2, 3) for field in (b"e", event(n).encode())]]
    [part] = await parts_of(LinkDouble(inbox=[packed], dispatch=[]), [])
    assert [one.n for one in part.envelopes] == [1, 2, 3]
    assert part.size_bytes == sum(len(event(n).encode()) for n in (1, 2, 3))


async def test_everything_that_is_pending_is_found() -> None:
    """Redis tells of it page by page; what is missed here nobody would ever run."""
    pending, pages = [b"%d" % n for n in range(1, 1002)], list[bytes]()

    async def xpending(*command: Any) -> list[Any]:
        start, count = command[3], command[5]
        pages.append(start)
        after = 0 if start == b"-" else int(start.removeprefix(b"("))
        return [[one, b"w1", 0, 1] for one in pending[after : after + count]]

    assert await pending_of(cast("Link", SimpleNamespace(call=xpending)), DISPATCH, "w1") == pending
    assert pages == [b"-", b"(500", b"(1000"]


async def test_worker_that_left_nothing_has_one_empty_part() -> None:
    """The take-overs of its calls go with the first part."""
    assert await parts_of(LinkDouble(inbox=[], dispatch=[]), []) == [Part(is_first=True)]


def test_event_of_a_later_part_is_no_suspect() -> None:
    """The first of its call and epoch was in an earlier part; it alone can have killed the worker."""
    places: set[tuple[str, int]] = set()
    begun = {mark_of(event(1)), mark_of(event(2))}
    first = redelivery(["a"], [event(1)], begun, 0, places)
    later = redelivery([], [event(2)], begun, 0, places)
    assert [one.deaths for one in (*first.envelopes, *later.envelopes)] == [0, 1, 0]
