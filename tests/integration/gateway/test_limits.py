"""What one call, account or peer may take from the others: floods wait, slow sockets are cut, a full house is shut."""

import asyncio
import contextlib

import pytest

from jambonz_shared.directive import Command
from jambonz_shared.wire import redirect_frame
from tests.conditions import LIMIT_S, until
from tests.integration.gateway.gateways import (
    KEYS,
    WORKER,
    Caller,
    Worker,
    begun,
    caller,
    finished,
    gateway,
)
from tests.integration.gateway.test_http import SUBPROTOCOL, UPGRADE


async def test_full_gateway_shuts_its_door_and_opens_it_again(
    redis_url: str, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused TCP is tried again by jambonz, a 503 never (PROTOCOL.md 1.4); calls that end together open it once."""
    async with gateway(redis_url, max_calls=5) as running, contextlib.AsyncExitStack() as stack:
        callers: list[Caller] = []

        async def is_full() -> bool:
            try:
                callers.append(await stack.enter_async_context(caller(running.url + "/", f"call-{len(callers)}")))
            except OSError:
                return len(callers) >= 5
            return False

        await until(is_full, "five calls fill the gateway, whatever knocks beside them")
        # Connections count, whether or not they carry a call by then.
        told = [vars(record)["connections"] for record in caplog.records if record.message == "gateway full"]
        assert told
        assert min(told) >= 5
        for one in callers:
            one.socket.transport.abort()
        await until(running.is_open, "there is room again")


async def test_slow_peer_is_cut(redis_url: str, worker: Worker) -> None:
    """A slow socket never stops others; jambonz reconnects (PROTOCOL.md 1.4)."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        jambonz.socket.transport.pause_reading()
        frame = redirect_frame(b'[{"verb":"say","text":"' + b"x" * 20_000 + b'"}]', call_sid="call-1")

        async def is_cut() -> bool:
            await worker.sends("call-1", *[Command("c", frame)] * 20)
            return await running.metric("jambonz_gateway_slow_sockets_total") == 1

        await until(is_cut, "the socket that does not read is cut")
        jambonz.socket.transport.abort()
        await worker.ends("call-1")


async def test_flood_of_one_call_slows_that_call_only_and_loses_nothing(redis_url: str, worker: Worker) -> None:
    """Over its rate a call is not read for a while; its messages wait in the kernel, other calls are served."""
    async with (
        gateway(redis_url, max_call_event_rate=20) as running,
        caller(running.url + "/", "call-1") as loud,
        caller(running.url + "/", "call-2") as quiet,
    ):
        await begun(loud, worker)
        await begun(quiet, worker)
        for number in range(230):
            await loud.says("llm:event", number=number)
        msgid = await quiet.says("verb:hook")
        inbox = await worker.takes(KEYS.inbox(WORKER), 150)
        assert any(envelope.msgid == msgid for envelope in inbox), "the other call is heard while the loud one waits"
        inbox += await worker.takes(KEYS.inbox(WORKER), 231 - len(inbox))
        assert [envelope.n for envelope in inbox if envelope.call_sid == "call-1"] == list(range(3, 233))
        assert await running.metric("jambonz_gateway_throttled_total") >= 1
        await finished(loud, worker)
        await finished(quiet, worker)


async def test_flood_of_one_account_slows_its_calls_and_no_others(redis_url: str, worker: Worker) -> None:
    """Two calls below their own rate are over that of their account; the neighbour's call is served meanwhile."""
    async with (
        gateway(redis_url, max_account_event_rate=20) as running,
        caller(running.url + "/", "call-1") as loud,
        caller(running.url + "/", "call-2") as loud_too,
        caller(running.url + "/", "call-3") as quiet,
    ):
        for jambonz, account in ((loud, "acme"), (loud_too, "acme"), (quiet, "zenith")):
            await begun(jambonz, worker, account_sid=account)
        for number in range(115):
            await loud.says("llm:event", number=number)
            await loud_too.says("llm:event", number=number)
        msgid = await quiet.says("verb:hook")
        inbox = await worker.takes(KEYS.inbox(WORKER), 150)
        assert any(envelope.msgid == msgid for envelope in inbox), "the other account is heard while the loud one waits"
        inbox += await worker.takes(KEYS.inbox(WORKER), 231 - len(inbox))
        for sid in ("call-1", "call-2"):
            numbers = [envelope.n for envelope in inbox if envelope.call_sid == sid]
            assert numbers == sorted(set(numbers))
            assert len(numbers) == 115
        assert await running.metric("jambonz_gateway_throttled_accounts_total") >= 1
        assert await running.metric("jambonz_gateway_throttled_total") == 0
        for jambonz in (loud, loud_too, quiet):
            await finished(jambonz, worker)


async def test_peer_that_does_not_answer_pings_is_cut_and_others_stay(redis_url: str) -> None:
    """jambonz never pings, so a half-open socket is found by nobody else (PROTOCOL.md 1.1, section 12)."""
    async with gateway(redis_url, ping_interval_s=1) as running, caller(running.url + "/", "call-1") as alive:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.settings.port)
        writer.write(UPGRADE.format(path="/", more=SUBPROTOCOL).replace("\n", "\r\n").encode())
        async with asyncio.timeout(LIMIT_S):
            heard = await reader.read()
        writer.close()
        assert heard.startswith(b"HTTP/1.1 101 ")
        assert heard.endswith(b"\x89\x00\x89\x00"), "two pings, and no third"
        assert await running.metric("jambonz_gateway_silent_sockets_total") == 1
        await (await alive.socket.ping())
