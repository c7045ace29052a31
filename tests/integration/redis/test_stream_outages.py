"""A StreamReader hands on every entry once, whatever becomes of its connection, its server or the stream."""

import asyncio
import os
import signal

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Source, StreamReader
from jambonz_shared.redis.wire import Reply
from tests.conditions import until
from tests.integration.redis.conftest import Running
from tests.integration.redis.proxy import Proxy
from tests.integration.redis.readers import DISPATCH, INBOX, Heard, add, alone, kill, member, pending
from tests.integration.redis.short_lived import ShortLived


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


async def test_connection_that_ends_with_its_first_reply_was_never_up(
    redis_url: str, link: Link, running: Running, heard: Heard
) -> None:
    """A read that a poke begins would come between the questions of the next one, and take a reply to those."""
    endpoint = ShortLived(redis_url, b":7\r\n")
    reader = StreamReader(endpoint, link, Source(INBOX), heard)
    running(reader.run())
    await endpoint.is_away.wait()
    assert not reader.is_up
    endpoint.is_back.set()
    await add(link, INBOX, "a")
    await until(lambda: heard.values == [b"a"], "the next connection reads")


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


async def test_wrong_type_is_tried_again(
    redis_url: str, link: Link, running: Running, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is no stream is an operator's fault, who can mend it without restarting workers."""
    replies: list[Reply] = []
    link.send(replies.append, "SET", INBOX, "x", "PX", 60_000)
    reader = alone(redis_url, link, heard)
    running(reader.run())

    def is_refused() -> bool:
        return any(getattr(record, "reason", "") == "read refused: WRONGTYPE" for record in caplog.records)

    await until(is_refused, "the read is refused")
    await link.call("DEL", INBOX)
    await add(link, INBOX, "a")
    await until(lambda: heard.values == [b"a"], "the entry has come")
