"""The Link against real servers: order, errors as values, bounds, scripts, logins."""

import asyncio
import contextlib
import logging
import os
import signal

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import LinkDown, LinkFull, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.wire import Reply
from tests.conditions import until, until_now
from tests.integration.redis.conftest import Running, failures_of, up
from tests.integration.redis.desk import execute

ECHO = Script.of("echo", b"redis.call('RPUSH', KEYS[1], ARGV[1]) return ARGV[1]")


async def reads_of(client: redis.asyncio.Redis) -> int:
    return int((await client.info("stats"))["total_reads_processed"])


@pytest.mark.both_redis
async def test_replies_come_in_the_order_of_the_commands(link: Link) -> None:
    """Callers keep no numbers of their own."""
    replies: list[Reply] = []
    for number in range(2000):
        link.send(replies.append, "ECHO", number)
    await until(lambda: len(replies) == 2000, "all are answered")
    assert replies == [b"%d" % number for number in range(2000)]
    assert link.in_flight == 0


async def test_commands_of_one_tick_are_written_at_once(link: Link, client: redis.asyncio.Redis) -> None:
    """System calls cost more than commands."""
    before = await reads_of(client)
    replies: list[Reply] = []
    for number in range(60):
        link.send(replies.append, "ECHO", number)
    await until(lambda: len(replies) == 60, "all are answered")
    # One for the commands, one for the second INFO, and perhaps a PING of the watchdog.
    assert await reads_of(client) - before <= 3


async def test_many_commands_are_on_their_way_before_the_tick_ends(link: Link, redis_url: str) -> None:
    """Redis works while a tick of hundreds of events goes on; what is left over goes at its end."""
    replies: list[Reply] = []
    with contextlib.closing(redis.Redis.from_url(redis_url)) as onlooker:
        for _ in range(150):
            link.send(replies.append, "INCR", "jc:x")
        # The loop stands still meanwhile, as in a long tick.
        until_now(lambda: onlooker.get("jc:x") == b"128", "twice 64 have been done")
        onlooker.pexpire("jc:x", 60_000)
    assert replies == []
    await until(lambda: len(replies) == 150, "all are answered")
    assert replies == list(range(1, 151))


async def test_lingering_link_gathers_the_commands_of_a_while(link: Link, client: redis.asyncio.Redis) -> None:
    """The first goes out at once; those behind it wait together, so that Redis is not woken for each."""
    link.linger_s = 0.3
    loop = asyncio.get_running_loop()
    await link.call("PING")
    began_s = loop.time()
    await link.call("PING")
    assert loop.time() - began_s > 0.2, "it waits until a write is due again"
    waiting = [link.call("SET", f"jc:x:{number}", "1", "PX", "60000") for number in range(3)]
    await asyncio.sleep(0)
    assert await client.keys("jc:x:*") == []
    assert await asyncio.gather(*waiting) == [b"OK"] * 3


async def test_callback_is_never_called_from_inside_send(running: Running, redis_url: str) -> None:
    """Callers need not be ready for their own callbacks; failures come as replies do."""
    link = Link(UrlEndpoint(redis_url))
    replies: list[Reply] = []
    link.send(replies.append, "PING")
    assert replies == []
    await until(lambda: len(replies) == 1, "the failure is told")
    assert isinstance(replies[0], LinkDown)
    assert not replies[0].sent


async def test_refusal_is_a_value_with_its_code(link: Link) -> None:
    """A wrong command fails alone."""
    replies: list[Reply] = []
    for command in (("SET", "jc:x", "1", "PX", "60000"), ("LPUSH", "jc:x", "1"), ("DEL", "jc:x")):
        link.send(replies.append, *command)
    await until(lambda: len(replies) == 3, "all are answered")
    assert (replies[0], replies[2]) == (b"OK", 1)
    assert isinstance(replies[1], ResponseError)
    assert replies[1].code == "WRONGTYPE"


async def test_awaited_refusal_is_raised(link: Link) -> None:
    """``call`` is for set-up code, which reads better with exceptions."""
    with pytest.raises(ResponseError, match="unknown command"):
        await link.call("NOSUCH")
    assert await link.call("PING") == b"PONG"


async def test_callback_that_raises_stops_nobody_else(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    """One call's fault must not cost the others their replies."""

    def fail(_: Reply) -> None:
        raise KeyError("mine")

    failures = failures_of(link)
    replies: list[Reply] = []
    for on_reply in (replies.append, fail, replies.append):
        link.send(on_reply, "ECHO", "a")
    await until(lambda: len(replies) == 2, "the others are answered")
    assert len(failures) == 1
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "callback of a redis reply failed"
    ]


async def test_callback_may_send(link: Link) -> None:
    """A chain of commands needs no task."""
    replies: list[Reply] = []

    def first(reply: Reply) -> None:
        replies.append(reply)
        link.send(replies.append, "ECHO", "second")

    link.send(first, "ECHO", "first")
    await until(lambda: replies == [b"first", b"second"], "both are answered")


async def test_cancelled_call_takes_nobody_elses_reply(link: Link) -> None:
    """Replies are counted: a forgotten command is still answered."""
    forgotten = link.call("ECHO", "forgotten")
    kept = link.call("ECHO", "kept")
    forgotten.cancel()
    assert await kept == b"kept"


async def test_bad_argument_is_a_type_error_and_nothing_is_sent(link: Link) -> None:
    """A programmer's mistake shows where it is made."""
    in_flight = link.in_flight
    bad: object = None
    with pytest.raises(TypeError):
        link.send(print, "ECHO", bad)  # type: ignore[arg-type]
    assert link.in_flight == in_flight


@pytest.mark.both_redis
async def test_forgotten_script_is_loaded_and_repeated_in_order(
    redis_url: str, client: redis.asyncio.Redis, running: Running
) -> None:
    """SCRIPT FLUSH, or a replica that became the primary without ever seeing the script."""
    link = Link(UrlEndpoint(redis_url), scripts=(ECHO,))
    running(link.run())
    await link.wait_up()
    await client.script_flush()
    replies: list[Reply] = []
    for number in range(20):
        link.script(replies.append, ECHO, ("jc:list",), (number,))
    await until(lambda: len(replies) == 20, "all are answered")
    expected = [b"%d" % number for number in range(20)]
    assert replies == expected
    assert await link.call("LRANGE", "jc:list", 0, -1) == expected


async def test_scripts_are_loaded_at_each_connect(
    redis_url: str, client: redis.asyncio.Redis, running: Running
) -> None:
    """The first event after a restart of Redis must not pay for a second round trip."""
    link = Link(UrlEndpoint(redis_url), scripts=(ECHO,))
    link.on_down(lambda: None)
    running(link.run())
    await link.wait_up()
    assert await client.script_exists(ECHO.sha.decode()) == [True]


async def test_output_is_bounded(own_server: EmbeddedRedis, running: Running) -> None:
    """A stalled Redis must not fill the memory of a gateway; what is refused was certainly not sent."""
    limit_bytes = 1 << 20
    link = await up(own_server.url, running, limit_bytes)
    replies: list[Reply] = []
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        body = b"x" * (limit_bytes // 4)
        for _ in range(60):
            link.send(replies.append, "SET", "jc:x", body)
            await asyncio.sleep(0)
        full = [reply for reply in replies if isinstance(reply, LinkFull)]
        assert full
        assert not full[0].sent
        assert full[0].limit_bytes == limit_bytes < full[0].buffered_bytes
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await until(lambda: len(replies) == 60, "all are answered")
    assert len([reply for reply in replies if reply == b"OK"]) == 60 - len(full)
    # The transport has sent the rest meanwhile, and the next long command finds room again.
    assert await link.call("SET", "jc:x", body) == b"OK"


async def test_burst_of_one_tick_is_bounded_too(link: Link) -> None:
    """Commands that are gathered count like those in the transport."""
    link._limit_bytes = link._room_bytes = 1000
    replies: list[Reply] = []
    for _ in range(30):
        link.send(replies.append, "ECHO", b"x" * 100)
    await until(lambda: len(replies) == 30, "all are answered")
    refused = [isinstance(reply, LinkFull) for reply in replies]
    assert 15 < sum(refused) < 25


async def test_link_logs_in_and_selects_its_database(own_server: EmbeddedRedis, running: Running) -> None:
    """User, password and database of the URL are honoured; a password never shows in a name for logs."""
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "gate", "on", ">se:cret", "~*", "&*", "+@all")
    url = own_server.url.replace("redis://", "redis://gate:se%3Acret@").replace("/0", "/3")
    link = await up(url, running)
    assert await link.call("ACL", "WHOAMI") == b"gate"
    await link.call("SET", "jc:x", "1")
    assert await admin.get("jc:x") is None
    assert UrlEndpoint(url).name == f"redis://127.0.0.1:{own_server.port}/3"
    await admin.aclose()
