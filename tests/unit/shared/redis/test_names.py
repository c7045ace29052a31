"""Look-ups that hang hold up nobody, and what was found last is worth a try."""

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from jambonz_shared.redis.names import Addresses, Names
from tests.conditions import until

FIRST, SECOND = ("10.0.0.1",), ("10.0.0.2", "10.0.0.3")
NO_SUCH_HOST = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NOBODY_ANSWERS = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class NameServer:
    """Answers as it is told; whoever asks while it ``hangs`` waits until it is told to go on."""

    def __init__(self) -> None:
        self.answer: Addresses | OSError = FIRST
        self.asked = 0
        self.hangs = False
        self.goes_on = threading.Event()

    def look_up(self, host: str) -> Addresses:
        assert host == "redis"
        self.asked += 1
        answer = self.answer
        if self.hangs:
            assert self.goes_on.wait(30)
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def server() -> Iterator[NameServer]:
    """A name server; the threads that wait for it end with the test."""
    server = NameServer()
    yield server
    server.goes_on.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a look-up who has something to try, nor joins an older one."""
    monkeypatch.setattr("jambonz_shared.redis.names._PATIENCE_S", 0.0)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0:0::1", "::1")])
async def test_address_needs_no_look_up(server: NameServer, host: str, address: str) -> None:
    """Most tests, and every node of a Redis Cluster, are addresses already."""
    assert await Names(server.look_up).addresses_of(host) == (address,)
    assert server.asked == 0


async def test_each_connect_asks_again(server: NameServer) -> None:
    """A name may stand for another server after a fail-over."""
    names = Names(server.look_up)
    assert await names.addresses_of("redis") == FIRST
    server.answer = SECOND
    assert await names.addresses_of("redis") == SECOND


async def test_look_up_that_hangs_holds_up_none_that_comes_later(server: NameServer, impatient: None) -> None:
    """A container that is back is known to the name server at once; who asked while it was away waits 5 s."""
    names = Names(server.look_up)
    server.hangs = True
    early = asyncio.create_task(names.addresses_of("redis"))
    await until(lambda: server.asked == 1, "the first look-up hangs")
    server.hangs, server.answer = False, SECOND
    assert await asyncio.wait_for(names.addresses_of("redis"), 5) == SECOND
    assert not early.done()
    server.goes_on.set()
    assert await early == FIRST


async def test_what_was_found_last_is_taken_while_the_name_server_is_silent(server: NameServer) -> None:
    """A look-up takes 5 s then and more; nobody waits for it who has an address to try."""
    names = Names(server.look_up)
    await names.addresses_of("redis")
    server.hangs = True
    assert await asyncio.wait_for(names.addresses_of("redis"), 5) == FIRST


async def test_what_was_found_last_is_taken_when_nobody_has_answered(server: NameServer) -> None:
    """What getaddrinfo makes of silence says nothing of the host."""
    names = Names(server.look_up)
    await names.addresses_of("redis")
    server.answer = NOBODY_ANSWERS
    assert await names.addresses_of("redis") == FIRST


async def test_late_answer_is_the_newest_that_is_known(server: NameServer) -> None:
    """Whoever asked for it has gone, the next one profits."""
    names = Names(server.look_up)
    await names.addresses_of("redis")
    server.hangs, server.answer = True, SECOND
    assert await names.addresses_of("redis") == FIRST
    server.goes_on.set()
    server.answer = NOBODY_ANSWERS

    async def is_known() -> bool:
        return await names.addresses_of("redis") == SECOND

    await until(is_known, "the late answer is what was found last")


async def test_host_that_is_gone_is_not_looked_for_at_its_old_address(server: NameServer) -> None:
    """The name server has answered: somebody else may have that address by now, and must not be told a password."""
    names = Names(server.look_up)
    await names.addresses_of("redis")
    server.answer = NO_SUCH_HOST
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        await names.addresses_of("redis")


async def test_silence_is_an_error_where_nothing_is_known(server: NameServer) -> None:
    """The log says why there is no connection."""
    server.answer = NOBODY_ANSWERS
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await Names(server.look_up).addresses_of("redis")


async def test_connections_of_a_process_ask_together(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them have lost the same Redis in the same millisecond."""
    monkeypatch.setattr("jambonz_shared.redis.names._PATIENCE_S", 60.0)
    names = Names(server.look_up)
    server.hangs = True
    asking = [asyncio.create_task(names.addresses_of("redis")) for _ in range(5)]
    await until(lambda: server.asked > 0, "they have asked")
    server.goes_on.set()
    assert await asyncio.gather(*asking) == [FIRST] * 5
    assert server.asked == 1


async def test_number_of_look_ups_that_hang_is_bounded(server: NameServer, impatient: None) -> None:
    """A name server that is away for an hour must not leave a thread for each try."""
    names = Names(server.look_up)
    server.hangs = True
    asking = [asyncio.create_task(names.addresses_of("redis")) for _ in range(50)]
    await until(lambda: server.asked >= 16, "as many as may hang")
    server.goes_on.set()
    assert await asyncio.gather(*asking) == [FIRST] * 50
    assert server.asked == 16


async def test_process_that_may_have_no_more_threads_has_no_connection_for_now(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weather, and no reason for its task to end; the next try may succeed."""
    names = Names(server.look_up)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            await names.addresses_of("redis")
    assert await names.addresses_of("redis") == FIRST


async def test_label_that_is_too_long_is_no_host() -> None:
    """Python refuses it before it asks anybody, by an error that is no OSError."""

    def look_up(host: str) -> Addresses:
        return (host.encode("idna").decode(),)

    with pytest.raises(OSError, match="label"):
        await asyncio.wait_for(Names(look_up).addresses_of("x" * 64), 5)


def test_loop_may_end_before_a_look_up(server: NameServer, caplog: pytest.LogCaptureFixture) -> None:
    """A process that is told to go does not wait for a name server, nor complain about it."""
    names = Names(server.look_up)

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(names.addresses_of("redis"), 0.01)

    server.hangs = True
    before = set(threading.enumerate())
    asyncio.run(leave())
    (thread,) = set(threading.enumerate()) - before
    server.goes_on.set()
    thread.join(5)
    assert not thread.is_alive()
    gc.collect()
    assert not caplog.records
