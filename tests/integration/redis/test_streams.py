"""StreamReader against real servers: what it hands on, and how it is stopped."""

import asyncio

import pytest

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Entry, Source, StreamReader
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.integration.redis.readers import DISPATCH, INBOX, Heard, add, alone, member, pending


@pytest.mark.both_redis
async def test_entries_come_in_order_with_all_their_values(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """What was in the stream before the reader, and what comes after; one entry may hold many Envelopes."""
    await add(link, INBOX, "a", "b")
    reader = alone(redis_url, link, heard)
    running(reader.run())
    await until(lambda: heard.values == [b"a", b"b"], "the first entry has come")
    await add(link, INBOX, "c")
    await add(link, INBOX, "d", "e", "f")
    await until(lambda: heard.values == [b"a", b"b", b"c", b"d", b"e", b"f"], "all have come")
    ids = [entry_id for batch in heard.batches for entry_id, _ in batch]
    assert len(ids) == 3
    assert await link.call("XDEL", INBOX, *ids) == 3


async def test_read_takes_at_most_its_count(redis_url: str, link: Link, running: Running, heard: Heard) -> None:
    """A full inbox must not hold the loop for long."""
    for number in range(25):
        await add(link, INBOX, number)
    running(alone(redis_url, link, heard, count=10).run())
    await until(lambda: len(heard.values) == 25, "all have come")
    assert [len(batch) for batch in heard.batches] == [10, 10, 5]


async def test_reader_waits_for_a_stream_that_is_not_there_yet(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """The inbox is made by the first heartbeat, perhaps after the reader."""
    reader = alone(redis_url, link, heard)
    running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    await add(link, INBOX, "a")
    await until(lambda: heard.values == [b"a"], "the entry has come")


async def test_handler_that_raises_stops_nothing(redis_url: str, link: Link, running: Running) -> None:
    """One bad event must not end a worker's reading."""
    heard: list[bytes] = []

    def fail_first(entries: list[Entry]) -> None:
        heard.extend(value for _, values in entries for value in values)
        if len(heard) == 1:
            raise LookupError

    failures = failures_of(link)
    reader = StreamReader(UrlEndpoint(redis_url), link, Source(INBOX), fail_first)
    running(reader.run())
    await add(link, INBOX, "a")
    await until(lambda: heard == [b"a"], "the first has come")
    await add(link, INBOX, "b")
    await until(lambda: heard == [b"a", b"b"], "the second has come")
    assert len(failures) == 1


@pytest.mark.both_redis
async def test_stopped_reader_returns_at_once_and_loses_nothing(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """A draining worker takes no new calls, and hands on those that Redis gave it in the last moment."""
    reader = member(redis_url, link, heard)
    task = running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    loop = asyncio.get_running_loop()
    stopped_s = loop.time()
    await add(link, DISPATCH, "a")
    await reader.stop()
    await asyncio.wait((task,))
    assert loop.time() - stopped_s < 1.5, "the read did not last as long as it may block"
    await add(link, DISPATCH, "b")
    assert heard.values == [b"a"]
    assert await pending(link) == len(heard.values)
    reader.poke()
    await reader.stop()
    assert not reader.is_up
    await link.call("DEL", DISPATCH)


async def test_reader_stops_without_redis(own_server: EmbeddedRedis, running: Running, heard: Heard) -> None:
    """A process must end even if Redis does not come back."""
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    reader = alone(own_server.url, link, heard)
    task = running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    own_server.kill()
    await until(lambda: not reader.is_up, "the reader is down")
    await reader.stop()
    await asyncio.wait((task,))
    assert task.exception() is None


async def test_reader_stops_without_its_link(redis_url: str, running: Running, heard: Heard) -> None:
    """Nobody can end its read then; it lasts as long as it blocks."""
    link = Link(UrlEndpoint(redis_url))
    reader = alone(redis_url, link, heard, block_ms=300)
    task = running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    await reader.stop()
    await asyncio.wait((task,))
    assert task.exception() is None
