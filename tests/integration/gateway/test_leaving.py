"""A Connection that has left stays gone, and one that has not comes back, whatever Redis forgets (P6, P8)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from jambonz_gateway.downlink import HELD_TTL_S, Downlink, Identity
from jambonz_gateway.effects import Attach, Detach, ReadLog
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.route import Attachment, Known
from jambonz_shared.directive import ChannelMessage
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import CallKeys
from tests.conditions import until
from tests.integration.gateway.gateways import KEYS, TTL_MS, Worker, begun, caller, finished, gateway, killed_links

GRACE_MS = 30_000


class Holder:
    """A Connection that notes what it is told, and lets go of its Call when it has left, as a Session does."""

    app_name = "default"
    path = "/"

    def __init__(self, downlink: Downlink) -> None:
        self.downlink = downlink
        self.epochs: list[int] = []
        self.has_left = False

    def attached(self, call_sid: str, attachment: Attachment) -> None:
        self.epochs.append(attachment.epoch)

    def detached(self, call_sid: str, connections_left: int) -> None:
        self.has_left = True
        self.downlink.forget(self, call_sid)

    def known(self, call_sid: str) -> Known:
        return Known()

    def refused(self, call_sid: str) -> None:
        raise AssertionError

    def channel(self, call_sid: str, message: ChannelMessage) -> None:
        """Nothing that matters here."""

    def resubscribed(self, call_sid: str) -> None:
        """Nothing that matters here."""

    def log_read(self, wanted: ReadLog, entries: list[tuple[int, bytes]]) -> None:
        """Nothing that matters here."""


@pytest.fixture
async def downlink(redis_url: str) -> AsyncIterator[Downlink]:
    """The downlink of a gateway without sockets."""
    endpoint = UrlEndpoint(redis_url)
    link = Link(endpoint)
    channels = Channels(endpoint, link, "jc:canary:{g1}")
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(channels.run())]
    await link.wait_up()
    yield Downlink(link, channels, Metrics(), Identity("g1", KEYS, TTL_MS, GRACE_MS))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def connections(redis: Redis, sid: str) -> dict[bytes, bytes]:
    """Return what the hash says of Connections."""
    fields: dict[Any, Any] = await redis.hgetall(KEYS.call(sid))
    return {name: value for name, value in fields.items() if name == b"live" or name.startswith(b"c:")}


async def holding_gateway(redis: Redis, sid: str) -> bytes:
    """Return the id of the gateway of the newest Connection."""
    gateway_id = await redis.hget(KEYS.call(sid), "gateway")
    assert isinstance(gateway_id, bytes)
    return gateway_id


async def test_attaching_again_does_not_bring_back_a_connection_that_is_leaving(
    downlink: Downlink, worker: Worker
) -> None:
    """The link was away for longer than the lease, and a call has ended meanwhile: its detach is on its way."""
    holder = Holder(downlink)
    downlink.attach(holder, Attach("call-1", "main", is_reconnect=False))
    await until(lambda: holder.epochs == [1], "the Connection is attached")
    downlink.detach(holder, Detach("call-1", 1))
    downlink.attach_again()
    await until(lambda: holder.has_left, "the Connection has left")
    # The link answers in order: what was said behind the detach has been done before this.
    another = Holder(downlink)
    downlink.attach(another, Attach("call-2", "main", is_reconnect=False))
    await until(lambda: another.epochs == [1], "another Connection is attached")
    assert await connections(worker.redis, "call-1") == {b"live": b"0"}
    assert 0 < await worker.redis.pttl(KEYS.call("call-1")) <= GRACE_MS
    await worker.redis.delete(KEYS.call("call-1"), KEYS.call("call-2"), KEYS.held("g1"))


async def test_connection_that_attaches_late_does_not_drive_out_the_newer_one(
    downlink: Downlink, worker: Worker
) -> None:
    """Its socket was lost while Redis was away; jambonz has reconnected, and that Connection was quicker."""
    newer, older = Holder(downlink), Holder(downlink)
    downlink.attach(newer, Attach("call-1", "main", is_reconnect=True))
    await until(lambda: newer.epochs == [1], "the newer Connection is attached")
    older.has_left = True
    downlink.attach(older, Attach("call-1", "main", is_reconnect=True))
    await until(lambda: older.epochs == [2], "the older Connection has attached")
    assert await connections(worker.redis, "call-1") == {b"live": b"2", b"c:1": b"g1\x1fmain", b"c:2": b"g1\x1fleft"}
    await worker.redis.delete(KEYS.call("call-1"), KEYS.held("g1"))


async def test_connection_that_a_redis_without_its_last_second_believes_in_is_let_go(
    redis_url: str, worker: Worker
) -> None:
    """Jambonz had reconnected to the same gateway: Redis has forgotten that the first socket had gone."""
    async with gateway(redis_url) as running, caller(running.url, "call-1") as jambonz:
        await begun(jambonz, worker)
        gateway_id = await holding_gateway(worker.redis, "call-1")
        await worker.redis.hset(KEYS.call("call-1"), mapping={"c:7": gateway_id + b"\x1fmain", "live": 2})
        await killed_links(worker)
        wanted = {b"live": b"1", b"c:1": gateway_id + b"\x1fmain"}

        async def is_let_go() -> bool:
            return await connections(worker.redis, "call-1") == wanted

        await until(is_let_go, "only the open socket is attached")
        await finished(jambonz, worker)


async def test_open_connection_that_is_said_to_have_left_attaches_again(redis_url: str, worker: Worker) -> None:
    """A worker took its gateway for dead, which only stood still."""
    async with gateway(redis_url) as running, caller(running.url, "call-1") as jambonz:
        await begun(jambonz, worker)
        before = await connections(worker.redis, "call-1")
        gateway_id = (await holding_gateway(worker.redis, "call-1")).decode()
        abandon = scripts.abandon_args(CallKeys.of(KEYS, "call-1"), gateway_id, GRACE_MS)
        assert (await worker.run(script.ABANDON, abandon))[0] == 0

        async def is_back() -> bool:
            return await connections(worker.redis, "call-1") == before

        await until(is_back, "the Connection is attached again")
        assert await worker.redis.pttl(KEYS.call("call-1")) > GRACE_MS
        await finished(jambonz, worker)


async def test_what_a_gateway_holds_is_forgotten_some_day(downlink: Downlink, worker: Worker) -> None:
    """It may be killed before its first heartbeat, with no worker there to tidy up."""
    holder = Holder(downlink)
    downlink.attach(holder, Attach("call-1", "main", is_reconnect=False))
    await until(lambda: holder.epochs == [1], "the Connection is attached")
    assert 0 < await worker.redis.ttl(KEYS.held("g1")) <= HELD_TTL_S
    await worker.redis.delete(KEYS.call("call-1"))
