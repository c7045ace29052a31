"""Calls through a gateway: events into streams, acks and commands back, nothing left behind."""

import asyncio

from websockets.frames import Frame, Opcode

from jambonz_shared.directive import Ack, Close
from tests.conditions import until
from tests.integration.gateway.gateways import (
    DISPATCH,
    KEYS,
    SAY,
    WORKER,
    Worker,
    begun,
    caller,
    finished,
    gateway,
    log_is_empty,
    redirect,
)


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


async def test_first_ack_that_dies_with_its_socket_is_given_again(redis_url: str, worker: Worker) -> None:
    """An empty ack of the reconnect would be taken for the application: 480 to the caller (PROTOCOL.md 2.6.3)."""
    async with gateway(redis_url) as first, gateway(redis_url) as second:
        async with caller(first.url + "/", "call-1") as jambonz:
            msgid = await jambonz.says("session:new", direction="inbound")
            await worker.takes(DISPATCH)
            await worker.claims("call-1")
            jambonz.socket.transport.pause_reading()
            await worker.sends("call-1", Ack("a", 1, msgid, SAY))

            async def is_written() -> bool:
                return await first.metric("jambonz_gateway_sends_total") == 1

            await until(is_written, "the ack is on its way to a socket that nobody reads")
            jambonz.socket.transport.abort()
        async with caller(second.url + "/", "call-1") as jambonz:
            msgid = await jambonz.says("session:reconnect", direction="inbound")
            assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": [{"verb": "say", "text": "hi"}]}
            assert await jambonz.close_code() == 1012, "jambonz would be deaf without another reconnect"
        async with caller(first.url + "/", "call-1") as jambonz:
            msgid = await jambonz.says("session:reconnect", direction="inbound")
            assert await jambonz.hears() == {"type": "ack", "msgid": msgid, "data": []}
            await log_is_empty(worker, "call-1")
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


async def test_nonsense_on_a_call_channel_is_skipped(redis_url: str, worker: Worker) -> None:
    """A message of another version costs itself, not the call: what follows is delivered."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.redis.publish(KEYS.chan("call-1"), b"?nonsense")
        await worker.sends("call-1", redirect("call-1"))
        assert (await jambonz.hears())["command"] == "redirect"
        assert await running.metric("jambonz_gateway_failures_total") == 1
        await finished(jambonz, worker)
