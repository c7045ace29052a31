"""A gateway that is to leave answers what it owes, then moves its calls."""

import asyncio
import socket

from jambonz_shared.directive import Ack
from tests.conditions import until
from tests.integration.gateway.gateways import (
    KEYS,
    SAY,
    WORKER,
    Worker,
    begun,
    caller,
    gateway,
)

# The state of a socket whose other end has said all it will say (linux/tcp_states.h).
CLOSE_WAIT = 8


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
