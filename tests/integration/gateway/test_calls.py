"""Calls through a gateway: events into streams, acks and commands back, nothing left behind."""

import asyncio
import contextlib
import socket

from websockets.frames import Frame, Opcode

from jambonz_shared.directive import Ack, Close, Command
from jambonz_shared.wire import redirect_frame
from tests.conditions import until
from tests.integration.gateway.gateways import KEYS, WORKER, Caller, Worker, caller, gateway

SAY = b'[{"verb":"say","text":"hi"}]'
DISPATCH = KEYS.dispatch("default")
# The state of a socket whose other end has said all it will say (linux/tcp_states.h).
CLOSE_WAIT = 8


async def begun(jambonz: Caller, worker: Worker, **data: str) -> None:
    """Bring a call to where it is owned, acked and talking."""
    msgid = await jambonz.says("session:new", direction="inbound", **data)
    await worker.takes(DISPATCH)
    await worker.claims(jambonz.sid)
    await worker.sends(jambonz.sid, Ack("a", 1, msgid, SAY))
    assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": [{"verb": "say", "text": "hi"}]}
    await jambonz.says("call:status", call_status="trying")
    await worker.takes(KEYS.inbox(WORKER))


async def finished(jambonz: Caller, worker: Worker) -> None:
    """End the call as jambonz and its worker do."""
    await jambonz.says("call:status", call_status="completed")
    await jambonz.socket.close(1000)
    await worker.ends(jambonz.sid)


async def log_is_empty(worker: Worker, sid: str) -> None:
    async def is_empty() -> bool:
        return await worker.redis.xlen(KEYS.log(sid)) == 0

    await until(is_empty, "all batches have been delivered and deleted")


def redirect(sid: str) -> Command:
    return Command("c", redirect_frame(SAY, call_sid=sid))


async def test_call_goes_through_dispatch_inbox_and_channel(redis_url: str, worker: Worker) -> None:
    """The whole path of architecture.md: first event to dispatch, the rest to the owner; then nothing is left."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        msgid = await jambonz.says("verb:hook", digits="1")
        [envelope] = await worker.takes(KEYS.inbox(WORKER))
        assert (envelope.call_sid, envelope.n, envelope.msgid, envelope.kind) == ("call-1", 3, msgid, "verb:hook")
        await worker.sends("call-1", Ack("a", 1, msgid, b""), redirect("call-1"))
        assert await jambonz.hears() == {"type": "ack", "msgid": msgid}
        assert (await jambonz.hears())["command"] == "redirect"
        await log_is_empty(worker, "call-1")
        assert await running.metric("jambonz_gateway_events_total") == 3
        await finished(jambonz, worker)


async def test_event_for_a_dead_worker_goes_to_dispatch(redis_url: str, worker: Worker) -> None:
    """P6: the inbox of a dead worker does not exist, and is not brought back by an event."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.redis.delete(KEYS.inbox(WORKER))
        msgid = await jambonz.says("verb:hook")
        [envelope] = await worker.takes(DISPATCH)
        assert (envelope.n, envelope.msgid) == (3, msgid)
        assert not await worker.redis.exists(KEYS.inbox(WORKER))
        await finished(jambonz, worker)


async def test_fragments_are_one_message(redis_url: str, worker: Worker) -> None:
    """A proxy may cut a message into frames; up to 1 MiB is taken (PROTOCOL.md 1.1)."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        pieces = ['{"type":"verb:hook","msgid":"m1",', '"call_sid":"call-1","data":{"call_sid":', '"call-1"}}']
        await jambonz.socket.send(pieces)
        await jambonz.says("verb:hook", pad="x" * 900_000)
        small, big = await worker.takes(KEYS.inbox(WORKER), 2)
        assert small.body.decode() == "".join(pieces)
        assert len(big.body) > 900_000
        await finished(jambonz, worker)


async def test_messages_are_whole_however_tcp_cuts_them(redis_url: str, worker: Worker) -> None:
    """A segment may end anywhere, and hold a ping or a fragment between usual frames."""
    texts = [
        f'{{"type":"verb:hook","msgid":"m{n}","call_sid":"call-1","data":{{"call_sid":"call-1"}}}}' for n in range(4)
    ]
    frames = [
        Frame(Opcode.TEXT, texts[0].encode()),
        Frame(Opcode.PING, b"still there?"),
        Frame(Opcode.TEXT, texts[1][:40].encode(), fin=False),
        Frame(Opcode.PING, b"and now?"),
        Frame(Opcode.CONT, texts[1][40:].encode()),
        *(Frame(Opcode.TEXT, text.encode()) for text in texts[2:]),
    ]
    stream = b"".join(frame.serialize(mask=True) for frame in frames)
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        for size in (1, 7, 300, len(stream)):
            for at in range(0, len(stream), size):
                jambonz.socket.transport.write(stream[at : at + size])
                await asyncio.sleep(0)
            taken = await worker.takes(KEYS.inbox(WORKER), 4)
            assert [envelope.body.decode() for envelope in taken] == texts
        await finished(jambonz, worker)


async def test_nonsense_harms_neither_the_process_nor_another_call(redis_url: str, worker: Worker) -> None:
    """P9: broken JSON, binary, nesting, unknown types; the call goes on, so does its neighbour."""
    async with (
        gateway(redis_url) as running,
        caller(running.url + "/", "call-1") as jambonz,
        caller(running.url + "/", "call-2") as other,
    ):
        await begun(jambonz, worker)
        await begun(other, worker)
        for nonsense in ("{", b"\x00\x01", "[" * 200_000, '{"type":"cluster:ended","msgid":"m","data":{}}'):
            await jambonz.socket.send(nonsense)
        await jambonz.says("agent:not-invented-yet")
        await other.says("verb:hook")
        kinds = {envelope.kind for envelope in await worker.takes(KEYS.inbox(WORKER), 2)}
        assert kinds == {"agent:not-invented-yet", "verb:hook"}
        assert await running.metric("jambonz_gateway_failures_total") == 0
        await finished(jambonz, worker)
        await finished(other, worker)


async def test_socket_that_begins_with_nonsense_is_closed(redis_url: str, worker: Worker) -> None:
    """Whoever it is, it is not jambonz."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as stranger:
        await stranger.socket.send("hello")
        assert await stranger.close_code() == 1008


async def test_close_with_1001_by_the_application_is_a_drop(redis_url: str, worker: Worker) -> None:
    """Jambonz reconnects: the owner hears that no Connection is left, not that the call has ended."""
    async with gateway(redis_url) as running:
        async with caller(running.url + "/", "call-1") as jambonz:
            await begun(jambonz, worker)
            await worker.sends("call-1", Close("x", 1001))
            assert await jambonz.close_code() == 1001
        [envelope] = await worker.takes(KEYS.inbox(WORKER))
        assert envelope.kind == "cluster:detached"
        await worker.ends("call-1")


async def test_reconnect_gets_the_commands_of_the_gap(redis_url: str, worker: Worker) -> None:
    """P4: what was said while no socket was there waits in the log; another process delivers it."""
    async with gateway(redis_url) as first, gateway(redis_url) as second:
        async with caller(first.url + "/", "call-1") as jambonz:
            await begun(jambonz, worker)
            await log_is_empty(worker, "call-1")
            jambonz.socket.transport.abort()
        await worker.takes(KEYS.inbox(WORKER))
        await worker.sends("call-1", redirect("call-1"))
        async with caller(second.url + "/", "call-1") as jambonz:
            msgid = await jambonz.says("session:reconnect", direction="inbound")
            assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": []}
            assert (await jambonz.hears())["command"] == "redirect"
            [envelope] = await worker.takes(KEYS.inbox(WORKER))
            assert (envelope.epoch, envelope.n, envelope.is_acked) == (2, 1, True)
            await finished(jambonz, worker)


async def test_hook_nobody_answers_is_acked_by_the_gateway(redis_url: str, worker: Worker) -> None:
    """P1, with the real timer: no worker lives."""
    async with (
        gateway(redis_url, ack_deadline_s=0.3) as running,
        caller(running.url + "/", "call-1") as jambonz,
    ):
        started_s = asyncio.get_running_loop().time()
        msgid = await jambonz.says("session:new", direction="inbound")
        assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": [{"verb": "pause", "length": 1}]}
        assert asyncio.get_running_loop().time() - started_s >= 0.29
        await worker.takes(DISPATCH)
        await worker.claims("call-1")
        await finished(jambonz, worker)


async def killed_links(worker: Worker) -> None:
    """Cut every connection of gateways to Redis, as a fail-over or a firewall does."""
    for kind in ("normal", "pubsub"):
        await worker.redis.client_kill_filter(_type=kind, skipme=True)


async def test_cut_link_loses_no_event_and_no_command(redis_url: str, worker: Worker) -> None:
    """P4, P6: events of the gap arrive once, so do commands; what was delivered is not delivered again."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.sends("call-1", redirect("call-1"))
        assert (await jambonz.hears())["command"] == "redirect"
        await log_is_empty(worker, "call-1")
        await killed_links(worker)
        msgid = await jambonz.says("verb:hook")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        assert (await jambonz.hears())["msgid"] == msgid
        assert {it.n for it in await worker.takes(KEYS.inbox(WORKER))} == {3}
        await finished(jambonz, worker)


async def test_redis_that_comes_back_empty_is_refilled(redis_url: str, worker: Worker) -> None:
    """P6: the call, its numbers and its owner are known again, and its next event reaches that owner."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.redis.flushall()
        await worker.opens_inbox()
        await killed_links(worker)

        async def is_refilled() -> bool:
            return bool(await worker.redis.hget(KEYS.call("call-1"), "owner") == WORKER.encode())

        await until(is_refilled, "the gateway has attached its call again")
        assert await worker.redis.hget(KEYS.call("call-1"), "acked") == b"1"
        msgid = await jambonz.says("verb:hook")
        # It comes twice if the heartbeat attaches once more meanwhile; workers know it by its numbers.
        assert {(it.epoch, it.n) for it in await worker.takes(KEYS.inbox(WORKER))} == {(1, 3)}
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        assert (await jambonz.hears())["msgid"] == msgid
        await finished(jambonz, worker)


async def test_batch_after_a_lost_second_is_delivered_though_the_gateway_has_not_attached_again(
    redis_url: str, worker: Worker
) -> None:
    """P4: its worker is back first; Redis gives numbers again that the gateway has delivered already."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        for _ in range(3):
            await worker.sends("call-1", redirect("call-1"))
            assert (await jambonz.hears())["command"] == "redirect"
        await log_is_empty(worker, "call-1")
        # As an append-only file has it that was written a second ago.
        await worker.redis.hset(KEYS.call("call-1"), "seq", 1)
        await worker.redis.delete(KEYS.log("call-1"))
        await worker.restores("call-1")
        msgid = await jambonz.says("verb:hook")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        # Not the gateway's own ack at the deadline.
        assert (await jambonz.hears())["data"] == [{"verb": "say", "text": "hi"}]
        await worker.takes(KEYS.inbox(WORKER))
        await finished(jambonz, worker)


async def test_draining_gateway_acks_first_and_then_moves_its_calls(redis_url: str, worker: Worker) -> None:
    """P7: 1012 only where nothing is owed."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        msgid = await jambonz.says("verb:hook")
        await worker.takes(KEYS.inbox(WORKER))
        running.drain()

        async def is_shut() -> bool:
            return not await running.is_open()

        await until(is_shut, "the door is shut")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        assert (await jambonz.hears())["msgid"] == msgid
        assert await jambonz.close_code() == 1012
        assert running.done is not None
        await asyncio.wait_for(running.done, 20)
        await worker.ends("call-1")


async def test_hook_that_crosses_our_close_is_heard(redis_url: str, worker: Worker) -> None:
    """P7: TCP ends right behind the close frame, lest jambonz drop a hook while it waits for that; we listen on."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        jambonz.socket.transport.pause_reading()
        tcp = jambonz.socket.transport.get_extra_info("socket")
        running.drain()
        await until(lambda: tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT, "TCP has ended")
        msgid = await jambonz.says("verb:hook")
        [envelope] = await worker.takes(KEYS.inbox(WORKER))
        assert envelope.msgid == msgid
        jambonz.socket.transport.resume_reading()
        assert await jambonz.close_code() == 1012
        await worker.ends("call-1")


async def test_full_gateway_shuts_its_door_and_opens_it_again(redis_url: str, worker: Worker) -> None:
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


async def test_redis_without_memory_is_waited_for(redis_url: str, worker: Worker) -> None:
    """A call that comes while Redis refuses writes is attached, and its events published, as soon as it takes them."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await worker.redis.config_set("maxmemory", 1)
        try:
            msgid = await jambonz.says("session:new", direction="inbound")

            async def has_tried() -> bool:
                return await running.metric("jambonz_gateway_failures_total") >= 2

            await until(has_tried, "attaching has been refused, and tried again")
        finally:
            await worker.redis.config_set("maxmemory", 0)
        [envelope] = await worker.takes(DISPATCH)
        assert (envelope.n, envelope.msgid) == (1, msgid)
        await worker.claims("call-1")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        assert (await jambonz.hears())["msgid"] == msgid
        await jambonz.says("call:status", call_status="trying")
        await worker.takes(KEYS.inbox(WORKER))
        await worker.redis.config_set("maxmemory", 1)
        try:
            await jambonz.says("verb:status", event="finished")

            async def is_kept() -> bool:
                return await running.metric("jambonz_gateway_backlog_bytes") > 0

            await until(is_kept, "the event waits for Redis")
        finally:
            await worker.redis.config_set("maxmemory", 0)
        [envelope] = await worker.takes(KEYS.inbox(WORKER))
        assert (envelope.n, envelope.kind) == (3, "verb:status")
        await finished(jambonz, worker)


async def test_nonsense_on_a_call_channel_is_skipped(redis_url: str, worker: Worker) -> None:
    """A message of another version costs itself, not the call: what follows is delivered."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.redis.publish(KEYS.chan("call-1"), b"?nonsense")
        await worker.sends("call-1", redirect("call-1"))
        assert (await jambonz.hears())["command"] == "redirect"
        assert await running.metric("jambonz_gateway_failures_total") == 1
        await finished(jambonz, worker)
