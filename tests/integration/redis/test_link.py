"""The Link against real servers: order, errors as values, and every way a connection can end."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import LinkDown, LinkError, LinkFull, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.wire import Reply
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.integration.redis.desk import execute

ECHO = Script.of("echo", b"redis.call('RPUSH', KEYS[1], ARGV[1]) return ARGV[1]")


async def up(url: str, running: Running, limit_bytes: int = 1 << 25) -> Link:
    link = Link(UrlEndpoint(url), limit_bytes=limit_bytes)
    running(link.run())
    await link.wait_up()
    return link


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
    """System calls cost more than commands (DESIGN.md section 5)."""
    before = await reads_of(client)
    replies: list[Reply] = []
    for number in range(100):
        link.send(replies.append, "ECHO", number)
    await until(lambda: len(replies) == 100, "all are answered")
    # One for the commands, one for the second INFO, and perhaps a PING of the watchdog.
    assert await reads_of(client) - before <= 3


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


async def lose_by_client_kill(link: Link, client: redis.asyncio.Redis) -> None:
    await execute(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_killed_connection_comes_back_and_tells_so(
    link: Link, client: redis.asyncio.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """What was under way may have run: ``sent`` says that nobody knows."""
    said: list[str] = []
    link.on_down(lambda: said.append("down"))
    link.on_up(lambda: said.append("up"))
    blocked: list[Reply] = []
    link.send(blocked.append, "BLPOP", "jc:nothing", 0)
    await until(lambda: link.commands > 0 and link.in_flight > 0, "the command is under way")
    await lose_by_client_kill(link, client)
    await until(lambda: said == ["down", "up"], "the link goes down and comes up again")
    assert isinstance(blocked[0], LinkDown)
    assert blocked[0].sent
    assert (link.connects, await link.call("PING")) == (2, b"PONG")
    lost = [record for record in caplog.records if record.message == "redis connection lost"]
    assert [vars(record)["reason"] for record in lost] == ["closed by Redis"]


async def test_command_that_was_not_written_says_so(link: Link) -> None:
    """It may be repeated without fear: the connection ended before the tick did."""
    assert await link.call("PING") == b"PONG"
    replies: list[Reply] = []
    link.send(replies.append, "PING")
    assert link._wire is not None
    link._wire.drop("test")
    link.send(replies.append, "PING")
    await until(lambda: len(replies) == 2, "both are told")
    assert [isinstance(reply, LinkDown) and reply.sent for reply in replies] == [False, False]


async def test_listener_that_raises_stops_nobody_else(link: Link) -> None:
    """As for callbacks."""
    failures = failures_of(link)
    said: list[str] = []
    link.on_down(lambda: 1 / 0)
    link.on_down(lambda: said.append("down"))
    assert link._wire is not None
    link._wire.drop("test")
    assert said == ["down"]
    assert len(failures) == 1


async def test_link_survives_kill_9_of_a_durable_server(durable_server: EmbeddedRedis, running: Running) -> None:
    """A restart of Redis loses no committed effect (P6), and nobody has to restart anything else."""
    link = await up(durable_server.url, running)
    assert await link.call("SET", "jc:x", "1") == b"OK"
    durable_server.kill()
    await until(lambda: not link.is_up, "the link is down")
    with pytest.raises(LinkDown) as raised:
        await link.call("GET", "jc:x")
    assert not raised.value.sent
    await asyncio.to_thread(durable_server.restart)
    await link.wait_up()
    assert await link.call("GET", "jc:x") == b"1"


async def test_link_comes_up_when_redis_does(own_server: EmbeddedRedis, running: Running) -> None:
    """Processes may be started in any order."""
    own_server.kill()
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    await asyncio.to_thread(own_server.restart)
    await link.wait_up()
    assert await link.call("PING") == b"PONG"


async def test_stalled_server_is_given_up_and_taken_back(own_server: EmbeddedRedis, running: Running) -> None:
    """A hung Redis closes nothing; only the watchdog sees it. SIGSTOP is what a stalled VM looks like."""
    link = await up(own_server.url, running)
    loop = asyncio.get_running_loop()
    replies: list[Reply] = []
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        stopped_s = loop.time()
        link.send(replies.append, "PING")
        await until(lambda: not link.is_up, "the stalled server is given up")
        assert 1.0 < loop.time() - stopped_s < 10.0
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert isinstance(replies[0], LinkDown)
    assert replies[0].sent
    await link.wait_up()
    assert await link.call("PING") == b"PONG"


async def test_idle_link_stays_up_and_fresh(link: Link) -> None:
    """Readiness asks for the last reply; an idle process is no sick one."""
    loop = asyncio.get_running_loop()
    idle_since_s = loop.time()
    await until(lambda: link.last_reply_at_s > idle_since_s + 1.0, "the watchdog's own pings are answered")
    assert (link.connects, link.is_up) == (1, True)


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
    # The transport has sent the rest meanwhile, and the next command finds room again.
    assert await link.call("PING") == b"PONG"


async def test_burst_of_one_tick_is_bounded_too(link: Link) -> None:
    """Commands that are gathered count like those in the transport."""
    link._limit_bytes = link._room_bytes = 1000
    replies: list[Reply] = []
    for _ in range(30):
        link.send(replies.append, "ECHO", b"x" * 100)
    await until(lambda: len(replies) == 30, "all are answered")
    refused = [isinstance(reply, LinkFull) for reply in replies]
    assert 15 < sum(refused) < 25


async def test_replica_is_left_for_its_primary(own_server: EmbeddedRedis, running: Running) -> None:
    """After a fail-over the name may point to the new primary; the old connection never will."""
    link = await up(own_server.url, running)
    await link.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ResponseError) as raised:
        await link.call("SET", "jc:x", "1")
    assert raised.value.code == "READONLY"
    await until(lambda: link.connects == 2, "the link connects again")
    await link.call("REPLICAOF", "NO", "ONE")
    assert await link.call("SET", "jc:x", "1") == b"OK"


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


async def test_server_that_refuses_the_set_up_is_tried_again(own_server: EmbeddedRedis, running: Running) -> None:
    """Like one that still loads its data (LOADING): it may be fine in a moment."""
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "default", "-script")
    link = Link(UrlEndpoint(own_server.url))
    running(link.run())
    info = await admin.info("stats")
    seen = int(info["total_connections_received"])

    async def tried_again() -> bool:
        return int((await admin.info("stats"))["total_connections_received"]) >= seen + 2

    await until(tried_again, "the link has tried again")
    assert not link.is_up
    await execute(admin, "ACL", "SETUSER", "default", "+script")
    await link.wait_up()
    await admin.aclose()


async def test_wrong_password_is_tried_again(own_server: EmbeddedRedis, running: Running) -> None:
    """A password may be set on the server a moment later than here."""
    url = own_server.url.replace("redis://", "redis://gate:secret@")
    link = Link(UrlEndpoint(url))
    running(link.run())
    admin = connect(own_server.url)
    await execute(admin, "ACL", "SETUSER", "gate", "on", ">secret", "~*", "&*", "+@all")
    await link.wait_up()
    await admin.aclose()


async def test_cancelled_run_writes_what_was_sent(
    redis_url: str, client: redis.asyncio.Redis, running: Running
) -> None:
    """The last words of a process that ends reach Redis; their replies do not reach anybody."""
    link = Link(UrlEndpoint(redis_url))
    task = running(link.run())
    await link.wait_up()
    replies: list[Reply] = []
    link.send(replies.append, "SET", "jc:x", "last", "PX", 60000)
    task.cancel()
    await asyncio.wait((task,))
    assert isinstance(replies[0], LinkError)
    assert replies[0].sent

    async def arrived() -> bool:
        return await client.get("jc:x") == b"last"

    await until(arrived, "the command has arrived")
    replies.clear()
    link.send(replies.append, "PING")
    await until(lambda: len(replies) == 1, "later commands are refused")


@pytest.mark.parametrize(
    "stall", [lambda pid: os.kill(pid, signal.SIGSTOP), lambda pid: os.kill(pid, signal.SIGKILL)], ids=["stall", "kill"]
)
async def test_every_command_gets_exactly_one_answer(
    own_server: EmbeddedRedis, running: Running, stall: Callable[[int], None]
) -> None:
    """Whatever happens to the connection, no callback is forgotten and none called twice."""
    link = await up(own_server.url, running)
    answers = [0] * 3000

    def count(number: int) -> Callable[[Reply], None]:
        def on_reply(_: Reply) -> None:
            answers[number] += 1

        return on_reply

    for number in range(3000):
        if number == 1500:
            stall(own_server.pid)
        link.send(count(number), "ECHO", number)
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    await until(lambda: sum(answers) >= 3000, "all are answered")
    assert set(answers) == {1}
    own_server.kill()
