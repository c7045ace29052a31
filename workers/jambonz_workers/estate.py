"""Reads what a dead worker leaves behind in streams, a few MiB at a time, however much it is."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import GROUP
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link

log = logging.getLogger(__name__)

# What is handed on at one go: a Link takes 32 MiB (link.py) of everybody together, and while it is under way Redis
# holds it twice. What an ordinary worker leaves behind is less.
PART_BYTES: Final = 4 * 1024 * 1024
# Entries read at one go. How large they are shows itself: at the limit (envelope.ENTRY_BYTES) the first page is 8 MiB.
_FIRST_PAGE: Final = 32
_PAGE_MAX: Final = 500


@dataclass(slots=True)
class Part:
    """Some of the entries, in order.

    Attributes:
        envelopes: What they hold.
        pending: Ids of entries of dispatch, some of which may be gone.
        taken: Ids of entries of the inbox.
        size_bytes: All envelopes together.
        is_first: None was before it.
    """

    is_first: bool
    envelopes: list[Envelope] = field(default_factory=list)
    pending: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, entries: Sequence[Any]) -> None:
        """Take in what entries hold; their ids are the caller's business."""
        self.envelopes += _envelopes(entries)
        self.size_bytes += _size_bytes(entries)


async def pending_of(link: Link, dispatch: str, worker_id: str) -> list[bytes]:
    """Return the ids of dispatch entries that a worker has not acknowledged."""
    ids: list[bytes] = []
    start = b"-"
    while True:
        try:
            page = await link.call(b"XPENDING", dispatch, GROUP, start, b"+", _PAGE_MAX, worker_id)
        except ResponseError:
            # No such group: Redis has lost it, and what was pending with it.
            return ids
        assert isinstance(page, list)
        ids += [entry[0] for entry in page]
        if len(page) < _PAGE_MAX:
            return ids
        start = b"(" + page[-1][0]


async def left_behind(link: Link, dispatch: str, pending: Sequence[bytes], inbox: str) -> AsyncIterator[Part]:
    """Yield all entries in parts, one at least: the pending ones of dispatch first, which mostly are older.

    Whoever is done with a part may delete its entries before the next.
    """
    part = Part(is_first=True)
    async for ids, entries in _pages_of_dispatch(link, dispatch, pending):
        part.pending += ids
        part.add(entries)
        if part.size_bytes >= PART_BYTES:
            yield part
            part = Part(is_first=False)
    async for entries in _pages_of_inbox(link, inbox):
        part.taken += [entry[0] for entry in entries]
        part.add(entries)
        if part.size_bytes >= PART_BYTES:
            yield part
            part = Part(is_first=False)
    yield part


async def _pages_of_dispatch(
    link: Link, dispatch: str, ids: Sequence[bytes]
) -> AsyncIterator[tuple[Sequence[bytes], list[Any]]]:
    """Yield ids and those of their entries that are still there."""
    start, count = 0, _FIRST_PAGE
    while page := ids[start : start + count]:
        found = await asyncio.gather(*(link.call(b"XRANGE", dispatch, one, one) for one in page))
        entries = [entry for one in found if isinstance(one, list) for entry in one]
        yield page, entries
        start += len(page)
        count = _next_count(count, entries)


async def _pages_of_inbox(link: Link, inbox: str) -> AsyncIterator[list[Any]]:
    start, count = b"-", _FIRST_PAGE
    while entries := await link.call(b"XRANGE", inbox, start, b"+", b"COUNT", count):
        assert isinstance(entries, list)
        yield entries
        start = b"(" + entries[-1][0]
        count = _next_count(count, entries)


def _next_count(count: int, page: Sequence[Any]) -> int:
    """Return how many entries to read next, so that they come to a part; twice as many at most, as sizes differ."""
    fitting = count * PART_BYTES // max(1, _size_bytes(page))
    return max(1, min(2 * count, fitting, _PAGE_MAX))


def _size_bytes(entries: Sequence[Any]) -> int:
    return sum(len(raw) for _, fields in entries for raw in fields[1::2])


def _envelopes(entries: Iterable[Any]) -> Iterable[Envelope]:
    for _, fields in entries:
        for raw in fields[1::2]:
            try:
                yield Envelope.decode(raw)
            except BadFormat as error:
                log.error("not an envelope", extra={"why": str(error)})
