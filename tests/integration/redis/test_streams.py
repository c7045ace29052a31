"""StreamReader against real servers: every entry once, whatever becomes of the connection."""

import asyncio
import os
import signal

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Entry, GroupMember, Source, StreamReader
from jambonz_shared.redis.wire import Reply
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.integration.redis.desk import execute
from tests.integration.redis.proxy import Proxy

INBOX = "jc:inbox:{w1}"
DISPATCH = "jc:dispatch:{ivr}"


class Heard:
    """Collects what a reader hands on."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []

    def __call__(self, entries: list[Entry]) -> None:
        self.batches.append(entries)

    @property
    def values(self) -> list[bytes]:
        return [value for batch in self.batches for _, values in batch for value in values]


class Purse:
    """Credits a test gives and takes."""

    def __init__(self, room: int) -> None:
        self.credits = room
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.credits


def alone(url: str, link: Link, heard: Heard, block_ms: int = 2000, count: int = 100) -> StreamReader:
    return StreamReader(UrlEndpoint(url), link, Source(INBOX, count=count, block_ms=block_ms), heard)


def member(url: str, link: Link, heard: Heard, consumer: str = "w1", purse: Purse | None = None) -> StreamReader:
    source = Source(DISPATCH, GroupMember("workers", consumer, purse or Purse(100)))
    return StreamReader(UrlEndpoint(url), link, source, heard)


async def add(link: Link, key: str, *values: str | int, entry_id: str = "*") -> None:
    fields = [part for value in values for part in ("e", value)]
    await link.call("XADD", key, entry_id, *fields)
    await link.call("PEXPIRE", key, 60_000)


async def pending(link: Link) -> int:
    reply = await link.call("XPENDING", DISPATCH, "workers")
    assert isinstance(reply, list)
    return int(reply[0])


@pytest.fixture
def heard() -> Heard:
    return Heard()


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
    assert len(ids) == 3 == reader.entries
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


async def kill(client: redis.asyncio.Redis, reader: StreamReader) -> None:
    await execute(client, "CLIENT", "KILL", "ID", str(reader.client_id))


@pytest.mark.both_redis
@pytest.mark.parametrize("kind", ["alone", "member"])
async def test_entries_come_once_over_lost_connections(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard, kind: str
) -> None:
    """Neither lost nor doubled, though connections are killed under load."""
    key = INBOX if kind == "alone" else DISPATCH
    reader = alone(redis_url, link, heard, count=7) if kind == "alone" else member(redis_url, link, heard)
    running(reader.run())
    for number in range(600):
        await add(link, key, number)
        if number % 100 == 50:
            await until(lambda: reader.is_up, "the reader is up")
            await kill(client, reader)
    await until(lambda: len(heard.values) >= 600, "all have come")
    assert heard.values == [b"%d" % number for number in range(600)]
    if kind == "member":
        assert await pending(link) == 600
        await link.call("DEL", DISPATCH)


async def test_entries_of_a_lost_reply_are_asked_for_again(
    redis_server: EmbeddedRedis, link: Link, running: Running, heard: Heard
) -> None:
    """Redis counts them as delivered to us, so nobody else would ever get them; what we have comes not twice."""
    async with Proxy(redis_server.port).listening() as proxy:
        running(member(proxy.url, link, heard).run())
        await add(link, DISPATCH, "first")
        await until(lambda: heard.values == [b"first"], "the first has come")
        proxy.swallow()
        await add(link, DISPATCH, "lost")
        await until(lambda: proxy.swallowed_bytes > 0, "the reply is lost")
        assert await pending(link) == 2
        proxy.cut()
        await add(link, DISPATCH, "next")
        await until(lambda: len(heard.values) == 3, "all have come")
        assert heard.values == [b"first", b"lost", b"next"]
    await link.call("DEL", DISPATCH)


async def test_dead_connection_is_found_and_replaced(
    redis_server: EmbeddedRedis, link: Link, running: Running, heard: Heard
) -> None:
    """No error, no reply, not even an empty one after the time of BLOCK."""
    async with Proxy(redis_server.port).listening() as proxy:
        reader = alone(proxy.url, link, heard, block_ms=250)
        running(reader.run())
        await until(lambda: reader.is_up, "the reader is up")
        proxy.swallow()
        await add(link, INBOX, "a")
        await until(lambda: heard.values == [b"a"], "the entry has come over a new connection")
        assert proxy.connections >= 2


async def test_stalled_server_is_survived(own_server: EmbeddedRedis, running: Running, heard: Heard) -> None:
    """SIGSTOP, as a stalled VM; afterwards all goes on."""
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    await link.wait_up()
    reader = alone(own_server.url, link, heard, block_ms=250)
    running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        await until(lambda: not reader.is_up, "the stalled server is given up")
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await link.wait_up()
    await add(link, INBOX, "a")
    await until(lambda: heard.values == [b"a"], "the entry has come")


async def test_reader_of_a_durable_server_goes_on_where_it_was(
    durable_server: EmbeddedRedis, running: Running, heard: Heard
) -> None:
    """Kill -9 of Redis: what was handed on does not come again, what was not does."""
    link = Link(UrlEndpoint(durable_server.url))
    running(link.run())
    await link.wait_up()
    inbox, dispatch = alone(durable_server.url, link, heard), member(durable_server.url, link, heard)
    running(inbox.run())
    running(dispatch.run())
    await add(link, INBOX, "a")
    await add(link, DISPATCH, "b")
    await until(lambda: sorted(heard.values) == [b"a", b"b"], "the first two have come")
    await asyncio.to_thread(durable_server.restart)
    await link.wait_up()
    await add(link, INBOX, "c")
    await add(link, DISPATCH, "d")
    await until(lambda: sorted(heard.values) == [b"a", b"b", b"c", b"d"], "the next two have come, and no other")


@pytest.mark.parametrize("kind", ["alone", "member"])
async def test_new_stream_with_lower_ids_is_read_from_its_beginning(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard, kind: str
) -> None:
    """Redis lost its data and its clock is behind the old one's: ids start lower than the last one seen."""
    key = INBOX if kind == "alone" else DISPATCH
    reader = alone(redis_url, link, heard) if kind == "alone" else member(redis_url, link, heard)
    running(reader.run())
    await until(lambda: reader.is_up, "the reader is up")
    await add(link, key, "old", entry_id="9999999999999-5")
    await until(lambda: heard.values == [b"old"], "the old entry has come")
    await client.flushall()
    await add(link, key, "new1", entry_id="1000-0")
    await kill(client, reader)
    await until(lambda: heard.values == [b"old", b"new1"], "the new stream is read")
    await add(link, key, "new2", entry_id="1000-1")
    await until(lambda: heard.values == [b"old", b"new1", b"new2"], "and read on")
    if kind == "member":
        await link.call("DEL", DISPATCH)


async def test_vanished_stream_is_no_reason_to_wait_for_its_ids(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running, heard: Heard
) -> None:
    """As above, but the new stream is made after the reader has come back."""
    reader = alone(redis_url, link, heard, block_ms=100)
    running(reader.run())
    await add(link, INBOX, "old", entry_id="9999999999999-5")
    await until(lambda: heard.values == [b"old"], "the old entry has come")
    await client.flushall()
    first_id = reader.client_id
    await kill(client, reader)
    await until(lambda: reader.is_up and reader.client_id != first_id, "the reader is back")
    await add(link, INBOX, "new", entry_id="1000-0")
    await until(lambda: heard.values == [b"old", b"new"], "the new stream is read")


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


async def test_wrong_type_is_tried_again(redis_url: str, link: Link, running: Running, heard: Heard) -> None:
    """A key that is no stream is an operator's fault, who can mend it without restarting workers."""
    replies: list[Reply] = []
    link.send(replies.append, "SET", INBOX, "x", "PX", 60_000)
    reader = alone(redis_url, link, heard)
    running(reader.run())
    await until(lambda: reader.last_reply_at_s > 0 and not reader.is_up, "the read is refused")
    await link.call("DEL", INBOX)
    await add(link, INBOX, "a")
    await until(lambda: heard.values == [b"a"], "the entry has come")
