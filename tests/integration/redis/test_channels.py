"""Channels against real servers: dispatch, reconnects, and connections that are dead without an error."""

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import LinkDown
from jambonz_shared.redis.link import Link
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.integration.redis.desk import execute
from tests.integration.redis.proxy import Proxy


async def up(url: str, link: Link, running: Running, on_resubscribed: Callable[[], object] | None = None) -> Channels:
    channels = Channels(UrlEndpoint(url), link, "jc:canary:test", on_resubscribed)
    running(channels.run())
    await until(lambda: channels.is_up, "the channels are up")
    return channels


async def subscribed(channels: Channels, channel: bytes, on_message: Callable[[bytes], object]) -> None:
    ready = asyncio.Event()
    channels.subscribe(channel, on_message, ready.set)
    await ready.wait()


@pytest.fixture
async def channels(redis_url: str, link: Link, running: Running) -> Channels:
    return await up(redis_url, link, running)


@pytest.mark.both_redis
async def test_messages_go_to_the_handler_of_their_channel(channels: Channels, link: Link) -> None:
    """In order, as bytes, from the moment of ``on_ready`` on."""
    a: list[bytes] = []
    b: list[bytes] = []
    await subscribed(channels, b"a", a.append)
    await subscribed(channels, b"b", b.append)
    for number in range(100):
        link.send(lambda _: None, "PUBLISH", "ab"[number % 2], number)
    await until(lambda: len(a) + len(b) == 100, "all messages have come")
    assert a == [b"%d" % number for number in range(0, 100, 2)]
    assert b == [b"%d" % number for number in range(1, 100, 2)]


async def test_subscriptions_of_one_tick_are_one_command(channels: Channels, client: redis.asyncio.Redis) -> None:
    """A burst of new calls costs one command."""
    ready: list[int] = []

    async def calls_of(command: str) -> int:
        stats = await client.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    before = await calls_of("subscribe")
    for number in range(500):
        channels.subscribe(b"c%d" % number, lambda _: None, lambda number=number: ready.append(number))  # type: ignore[misc]
    await until(lambda: len(ready) == 500, "all are confirmed")
    assert ready == list(range(500))
    assert await calls_of("subscribe") - before == 1
    for number in range(500):
        channels.unsubscribe(b"c%d" % number)

    async def is_quiet() -> bool:
        return await client.pubsub_numsub("c499") == [(b"c499", 0)]

    await until(is_quiet, "all are unsubscribed")
    assert await calls_of("unsubscribe") == 1
    # The canary's own.
    assert len(channels._handlers) == 1


async def test_unsubscribed_handler_hears_nothing_more(channels: Channels, link: Link) -> None:
    """From the call on, not from when Redis has heard of it: the handler's object may be gone."""
    said: list[bytes] = []
    await subscribed(channels, b"a", said.append)
    link.send(lambda _: None, "PUBLISH", "a", "late")
    channels.unsubscribe(b"a")
    channels.unsubscribe(b"never")
    await subscribed(channels, b"b", said.append)
    await link.call("PUBLISH", "b", "end")
    await until(lambda: b"end" in said, "the end has come")
    assert said == [b"end"]


async def test_handler_that_raises_silences_nobody(
    channels: Channels, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in a shared reader once silenced a whole gateway; logs hold no payload."""
    said: list[bytes] = []

    def fail(_: bytes) -> None:
        raise LookupError

    failures = failures_of(link)
    await subscribed(channels, b"bad", fail)
    await subscribed(channels, b"good", said.append)
    await link.call("PUBLISH", "bad", "secret digits")
    await link.call("PUBLISH", "good", "x")
    await until(lambda: said == [b"x"], "the other handler hears its message")
    assert (len(failures), channels.connects) == (1, 1)
    assert "handler of a pub/sub message failed" in caplog.text
    assert "secret digits" not in caplog.text


async def test_handlers_may_subscribe_and_unsubscribe(channels: Channels, link: Link) -> None:
    """A notice can end the interest in its own channel and begin that in another."""
    said: list[bytes] = []
    ready = asyncio.Event()

    def move(_: bytes) -> None:
        channels.unsubscribe(b"old")
        channels.subscribe(b"new", said.append, ready.set)

    await subscribed(channels, b"old", move)
    await link.call("PUBLISH", "old", "go")
    await ready.wait()
    await link.call("PUBLISH", "old", "nobody")
    await link.call("PUBLISH", "new", "here")
    await until(lambda: said == [b"here"], "the new channel is heard")


async def test_channel_wanted_again_at_once_is_ready_after_its_last_word(channels: Channels, link: Link) -> None:
    """A confirmation of an earlier word must not be taken for that of the last: messages in between would be lost."""
    said: list[bytes] = []
    early: list[str] = []
    channels.subscribe(b"a", said.append, lambda: early.append("first"))
    await asyncio.sleep(0)
    channels.unsubscribe(b"a")
    await asyncio.sleep(0)
    await subscribed(channels, b"a", said.append)
    assert early == []
    await link.call("PUBLISH", "a", "x")
    await until(lambda: said == [b"x"], "the message has come once")
    channels.unsubscribe(b"a")
    channels.subscribe(b"a", said.append)
    await subscribed(channels, b"b", said.append)
    await link.call("PUBLISH", "a", "y")
    await until(lambda: said == [b"x", b"y"], "the channel is still subscribed")


@pytest.mark.both_redis
async def test_everything_is_subscribed_again_after_a_lost_connection(
    redis_url: str, link: Link, client: redis.asyncio.Redis, running: Running
) -> None:
    """Listeners then read their logs: once, and only when nothing can be missed any more."""
    said: list[bytes] = []
    again: list[int] = []
    pubsub = await up(redis_url, link, running, lambda: again.append(len(pubsub._handlers)))
    ready: list[str] = []
    for number in range(2500):
        pubsub.subscribe(b"c%d" % number, said.append, lambda: ready.append("ready"))
    await until(lambda: len(ready) == 2500, "all are confirmed")
    assert again == []
    await execute(client, "CLIENT", "KILL", "TYPE", "pubsub")
    pubsub.subscribe(b"more", said.append, lambda: ready.append("ready"))
    await until(lambda: bool(again), "the listeners are told")
    assert (again, len(ready), pubsub.connects) == ([2502], 2501, 2)
    assert await link.call("PUBLISH", "c2499", "x") == 1
    assert await link.call("PUBLISH", "more", "y") == 1
    await until(lambda: said == [b"x", b"y"], "messages come again")


async def test_channels_survive_a_restart_of_redis(own_server: EmbeddedRedis, running: Running) -> None:
    """Kill -9 and an empty server: subscriptions are of the connection, so they come back."""
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    again: list[str] = []
    channels = await up(own_server.url, link, running, lambda: again.append("again"))
    said: list[bytes] = []
    await subscribed(channels, b"a", said.append)
    await asyncio.to_thread(own_server.restart)
    await until(lambda: again == ["again"], "the channels are subscribed again")
    await link.wait_up()
    await link.call("PUBLISH", "a", "x")
    await until(lambda: said == [b"x"], "messages come again")


async def test_connection_that_is_dead_without_an_error_is_rebuilt(
    redis_server: EmbeddedRedis, link: Link, running: Running
) -> None:
    """A NAT that forgot the connection swallows messages for ever; the canary finds out."""
    async with Proxy(redis_server.port).listening() as proxy:
        again: list[str] = []
        channels = await up(proxy.url, link, running, lambda: again.append("again"))
        said: list[bytes] = []
        await subscribed(channels, b"a", said.append)
        await link.call("PUBLISH", "a", "before")
        await until(lambda: said == [b"before"], "messages come through")
        proxy.swallow()
        await until(lambda: again == ["again"], "the connection is rebuilt")
        assert proxy.swallowed_bytes > 0
        await link.call("PUBLISH", "a", "after")
        await until(lambda: said == [b"before", b"after"], "messages come again")


async def test_subscription_nobody_confirms_is_tried_again(
    redis_server: EmbeddedRedis, link: Link, running: Running
) -> None:
    """A connection that dies while it is set up has no canary yet."""
    async with Proxy(redis_server.port).listening() as proxy:
        channels = Channels(UrlEndpoint(proxy.url), link, "jc:canary:test")
        running(channels.run())
        await until(lambda: proxy.connections == 1, "the connection is open")
        proxy.swallow()
        await until(lambda: channels.is_up, "the channels are up in spite of it")


async def test_healthy_connection_is_left_alone(channels: Channels) -> None:
    """The canary sings every second; nobody rebuilds anything."""
    await until(lambda: channels._canary_seen >= 2, "two canaries have come")
    assert (channels.connects, channels._canary_late_ticks) == (1, 0)


@pytest.mark.long
async def test_link_that_is_down_is_no_fault_of_the_channels(
    redis_url: str, running: Running, client: redis.asyncio.Redis
) -> None:
    """Without a Link no canary is sent, so none is missed: messages of others still come."""
    link = Link(UrlEndpoint(redis_url))
    link_task = running(link.run())
    channels = await up(redis_url, link, running)
    await until(lambda: channels._canary_seen >= 1, "a canary has come")
    link_task.cancel()
    await asyncio.wait((link_task,))
    with pytest.raises(LinkDown):
        await link.call("PING")
    said: list[bytes] = []
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    await subscribed(channels, b"a", said.append)
    await until(lambda: loop.time() > since_s + 3.0, "longer than a canary may be late")
    await client.publish("a", "x")
    await until(lambda: said == [b"x"], "messages still come")
    assert channels.connects == 1


async def test_user_without_permission_is_tried_again(own_server: EmbeddedRedis, running: Running) -> None:
    """A refused subscription is weather: an operator may mend it while the process runs."""
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    await link.wait_up()
    await link.call("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all", "resetchannels")
    channels = Channels(UrlEndpoint(own_server.url.replace("redis://", "redis://deaf:pw@")), link, "jc:canary:test")
    running(channels.run())

    async def was_denied() -> bool:
        return b"NOPERM" in bytes(str(await link.call("INFO", "errorstats")), "ascii")

    await until(was_denied, "Redis has refused the subscription")
    assert not channels.is_up
    await link.call("ACL", "SETUSER", "deaf", "&*")
    await until(lambda: channels.is_up, "the channels are up")
