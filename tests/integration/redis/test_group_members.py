"""A StreamReader as a member of a consumer group: credits, what is pending, groups that vanish."""

import asyncio

import pytest
import redis.asyncio

from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Entry
from tests.conditions import until
from tests.integration.redis.conftest import Running
from tests.integration.redis.desk import execute
from tests.integration.redis.readers import DISPATCH, Heard, Purse, add, kill, member, pending


@pytest.mark.both_redis
async def test_vanished_group_is_made_again_at_the_beginning(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard
) -> None:
    """FLUSHALL under a waiting reader: events that gateways publish afterwards must not wait for an operator."""
    reader = member(redis_url, link, heard)
    running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    await client.flushall()
    await add(link, DISPATCH, "a")
    await add(link, DISPATCH, "b")
    await until(lambda: heard.values == [b"a", b"b"], "both have come")
    await link.call("DEL", DISPATCH)


@pytest.mark.both_redis
async def test_members_share_a_stream(redis_url: str, link: Link, running: Running) -> None:
    """Each event goes to one worker."""
    both = Heard(), Heard()
    for consumer, heard in zip(("w1", "w2"), both, strict=True):
        running(member(redis_url, link, heard, consumer, Purse(1)).run())
    for number in range(200):
        await add(link, DISPATCH, number)
    await until(lambda: len(both[0].values) + len(both[1].values) == 200, "all have come")
    assert sorted(map(int, both[0].values + both[1].values)) == list(range(200))
    await link.call("DEL", DISPATCH)


async def test_member_reads_no_more_than_its_credits(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """A worker that is full leaves new calls to others; room makes it useful at once."""
    purse = Purse(2)
    reader = member(redis_url, link, heard, purse=purse)

    def spend(entries: list[Entry]) -> None:
        heard(entries)
        purse.credits -= len(entries)

    reader._on_entries = spend
    running(reader.run())
    for number in range(5):
        await add(link, DISPATCH, number)
    await until(lambda: len(heard.values) == 2 and not reader._is_reading, "the credits are used up")
    assert await pending(link) == 2
    reader.poke()
    assert not reader._is_reading
    purse.credits = 1
    reader.poke()
    reader.poke()
    await until(lambda: len(heard.values) == 3 and not reader._is_reading, "one more has come")
    purse.credits = 10
    reader.poke()
    await until(lambda: len(heard.values) == 5, "the rest has come")
    await link.call("DEL", DISPATCH)


@pytest.mark.both_redis
async def test_read_of_a_lost_connection_that_redis_still_believes_in_gets_no_entry(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard
) -> None:
    """It would stay pending with a worker that lives, so nobody would ever get it."""
    await link.call("XGROUP", "CREATE", DISPATCH, "workers", "0", "MKSTREAM")
    async with client.client() as lost:
        reader = member(redis_url, link, heard)
        reader.client_id = await lost.client_id()
        read = ("XREADGROUP", "GROUP", "workers", "w1", "BLOCK", "30000", "STREAMS", DISPATCH, ">")
        waiting = asyncio.ensure_future(execute(lost, *read))

        async def is_blocked() -> bool:
            return " flags=b " in str(await link.call("CLIENT", "LIST", "ID", reader.client_id))

        await until(is_blocked, "the read waits in Redis")
        running(reader.run())
        await until(lambda: reader.is_up, "the reader is up")
        await add(link, DISPATCH, "a")
        await until(lambda: heard.values == [b"a"], "the entry has come over the new connection")
        assert not await waiting
    await link.call("DEL", DISPATCH)


async def test_poke_before_the_first_connection_is_harmless(redis_url: str, link: Link, heard: Heard) -> None:
    """Credits may change at any time."""
    reader = member(redis_url, link, heard)
    reader.poke()
    assert not reader._is_reading


async def test_member_without_credits_survives_a_lost_connection(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard
) -> None:
    """A full worker keeps its connection, idle as it is, and gets a new one if that is lost."""
    purse = Purse(0)
    reader = member(redis_url, link, heard, purse=purse)
    running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    first_id = reader.client_id
    await kill(client, reader)
    await until(lambda: reader.is_up and reader.client_id != first_id, "the reader is back")
    await add(link, DISPATCH, "a")
    purse.credits = 1
    reader.poke()
    await until(lambda: heard.values == [b"a"], "the entry has come")
    await link.call("DEL", DISPATCH)


@pytest.mark.both_redis
async def test_restarted_consumer_gets_what_it_had_not_acknowledged(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """Under the same name after a crash; entries that were deleted meanwhile are passed over."""
    first = member(redis_url, link, heard)
    task = running(first.run())
    for value in ("done", "deleted", "open"):
        await add(link, DISPATCH, value)
    await until(lambda: len(heard.values) == 3, "all have come")
    (done, _), (deleted, _), _ = [entry for batch in heard.batches for entry in batch]
    await link.call("XACK", DISPATCH, "workers", done)
    await link.call("XDEL", DISPATCH, deleted)
    task.cancel()
    again = Heard()
    running(member(redis_url, link, again).run())
    await add(link, DISPATCH, "new")
    await until(lambda: again.values == [b"open", b"new"], "what was open comes again, then the new one")
    await link.call("DEL", DISPATCH)
