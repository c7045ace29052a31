"""Every way a connection of a Link can end, and how it comes back."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
import redis.asyncio

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import LinkDown, LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import Reply
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of, up
from tests.integration.redis.desk import execute
from tests.integration.redis.short_lived import ShortLived


async def test_killed_connection_comes_back_and_tells_so(
    link: Link, client: redis.asyncio.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """What was under way may have run: ``sent`` says that nobody knows."""
    said: list[str] = []
    link.on_down(lambda: said.append("down"))
    link.on_up(lambda: said.append("up"))
    blocked: list[Reply] = []
    link.send(blocked.append, "BLPOP", "jc:nothing", 0)

    async def is_under_way() -> bool:
        return bool((await client.info("clients"))["blocked_clients"])

    await until(is_under_way, "the command is under way")
    await execute(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
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


async def test_connection_that_ends_with_its_first_replies_was_never_up(redis_url: str, running: Running) -> None:
    """P3: commands given to it would get the replies to the set-up of the next one, and a commit never happen."""
    endpoint = ShortLived(redis_url, b"+PONG\r\n")
    link = Link(endpoint, scripts=())
    replies: list[Reply] = []
    link.on_up(lambda: link.send(replies.append, "ECHO", "a"))
    running(link.run())
    await endpoint.is_away.wait()
    assert not link.is_up
    endpoint.is_back.set()
    await until(lambda: bool(replies), "the command is answered")
    assert (replies, link.connects) == ([b"a"], 1)


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


async def test_replica_is_left_for_its_primary(own_server: EmbeddedRedis, running: Running) -> None:
    """After a fail-over the name may point to the new primary; the old connection never will."""
    link = await up(own_server.url, running)
    await link.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ResponseError) as raised:
        await link.call("SET", "jc:x", "1")
    assert raised.value.code == "READONLY"
    await until(lambda: not link.is_up, "the link is down")
    assert link.refusal == "READONLY"
    await until(lambda: link.connects == 2, "the link connects again")
    assert link.refusal == ""
    await link.call("REPLICAOF", "NO", "ONE")
    assert await link.call("SET", "jc:x", "1") == b"OK"


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
