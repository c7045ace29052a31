"""A Connection that has left stays gone, and one that has not comes back, whatever Redis forgets (P6, P8)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from jambonz_gateway.downlink import HELD_TTL_S, Downlink, Identity
from jambonz_gateway.effects import Attach, Detach, ReadLog
from jambonz_gateway.leftovers import Leftovers
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.route import Known
from jambonz_shared.directive import CallEnded, ChannelMessage, Close, ConnectionLeft
from jambonz_shared.kinds import DETACHED
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Attached, CallKeys
from tests.conditions import until
from tests.integration.gateway.gateways import (
    KEYS,
    TTL_MS,
    WORKER,
    Worker,
    begun,
    caller,
    finished,
    gateway,
    killed_links,
)

GRACE_MS = 30_000
IDENTITY = Identity("g1", KEYS, TTL_MS, GRACE_MS)


class Holder:
    """A Connection that notes what it is told, and lets go of its Call when it has left, as a Session does."""

    app_name = "default"
    path = "/"

    def __init__(self, downlink: Downlink) -> None:
        self.downlink = downlink
        self.epochs: list[int] = []
        self.heard: list[ChannelMessage] = []
        self.has_left = False

    def attached(self, call_sid: str, attachment: Attached) -> None:
        self.epochs.append(attachment.epoch)

    def detached(self, call_sid: str, connections_left: int) -> None:
        self.has_left = True
        self.downlink.forget(self, call_sid)

    def known(self, call_sid: str) -> Known:
        return Known()

    def refused(self, call_sid: str) -> None:
        raise AssertionError

    def channel(self, call_sid: str, message: ChannelMessage) -> None:
        self.heard.append(message)

    def resubscribed(self, call_sid: str) -> None:
        """Nothing that matters here."""

    def log_read(self, wanted: ReadLog, entries: list[tuple[int, bytes]]) -> None:
        """Nothing that matters here."""


@pytest.fixture
async def link(redis_url: str) -> Link:
    """The link of a gateway without sockets; ``downlink`` brings it up."""
    return Link(UrlEndpoint(redis_url))


@pytest.fixture
async def downlink(redis_url: str, link: Link) -> AsyncIterator[Downlink]:
    """The downlink of a gateway without sockets."""
    channels = Channels(UrlEndpoint(redis_url), link, "jc:canary:{g1}")
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(channels.run())]
    await link.wait_up()
    yield Downlink(link, channels, Metrics(), IDENTITY)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def attached(downlink: Downlink) -> Holder:
    """Return the first Connection of ``call-1``."""
    holder = Holder(downlink)
    downlink.attach(holder, Attach("call-1", "main", is_reconnect=False))
    await until(lambda: holder.epochs == [1], "the Connection is attached")
    return holder


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
    holder = await attached(downlink)
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


async def test_connection_that_leaves_takes_what_it_has_delivered_out_of_the_log(
    downlink: Downlink, worker: Worker
) -> None:
    """P3: jambonz comes back within half a second, and the next gateway would send the command once more."""
    holder = await attached(downlink)
    seq = await worker.sends("call-1", Close("", 1012))
    downlink.delivered("call-1", seq)
    downlink.detach(holder, Detach("call-1", 1))
    await until(lambda: holder.has_left, "the Connection has left")
    assert not await worker.redis.hexists(KEYS.call("call-1"), scripts.batch_field(seq))
    await worker.redis.delete(KEYS.call("call-1"))


async def test_what_was_delivered_while_the_link_was_down_is_taken_out_of_the_log(
    link: Link, downlink: Downlink, worker: Worker
) -> None:
    """P3: left there, it would be sent once more by the next Connection."""
    holder = await attached(downlink)
    seq = await worker.sends("call-1", Close("", 1012))

    def leaves() -> None:
        downlink.delivered("call-1", seq)
        downlink.detach(holder, Detach("call-1", 1))

    link.on_down(leaves)
    link.on_up(downlink.attach_again)
    await worker.redis.client_kill_filter(_type="normal", skipme=True)

    async def is_out() -> bool:
        return not await worker.redis.hexists(KEYS.call("call-1"), scripts.batch_field(seq))

    await until(is_out, "the batch is deleted")
    assert holder.epochs[-1] == 1
    await worker.redis.delete(KEYS.call("call-1"), KEYS.held("g1"))


async def test_connection_goes_with_its_call_to_another_app(downlink: Downlink, worker: Worker) -> None:
    """What it publishes goes to that app's dispatch from then on."""
    holder = await attached(downlink)
    await worker.redis.publish(KEYS.chan("call-1"), "Asales")
    await until(lambda: holder.app_name == "sales", "the Connection has heard")
    await worker.redis.delete(KEYS.call("call-1"), KEYS.held("g1"))


async def test_renewal_does_not_prolong_the_grace_time(downlink: Downlink, worker: Worker) -> None:
    """P8: it may come between the detachment of a call and the word that it is done."""
    holder = await attached(downlink)
    await worker.redis.pexpire(KEYS.call("call-1"), GRACE_MS)
    downlink.renew()
    downlink.detach(holder, Detach("call-1", 7))
    await until(lambda: holder.has_left, "what was said before is done")
    assert await worker.redis.pttl(KEYS.call("call-1")) > GRACE_MS
    leaving = Holder(downlink)
    downlink.attach(leaving, Attach("call-1", "main", is_reconnect=True))
    await until(lambda: leaving.epochs == [2], "another Connection is attached")
    downlink.detach(leaving, Detach("call-1", 2))
    downlink.renew()
    await until(lambda: leaving.has_left, "the Connection has left")
    assert 0 < await worker.redis.pttl(KEYS.call("call-1")) <= GRACE_MS
    await worker.redis.delete(KEYS.call("call-1"))


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


@pytest.mark.parametrize("epoch", [pytest.param(1, id="attached"), pytest.param(0, id="being_attached")])
async def test_connection_that_is_here_is_not_let_go(
    link: Link, downlink: Downlink, worker: Worker, epoch: int
) -> None:
    """Redis may know the epoch of one that is being attached, when nobody here does."""
    holder = await attached(downlink)
    Leftovers(link, IDENTITY, lambda _: [epoch]).look()
    # The link answers in order: the first tells what is held, behind the second it would have been let go.
    for _ in range(2):
        await link.call("PING")
    await worker.redis.publish(KEYS.chan("call-1"), "E")
    await until(lambda: CallEnded() in holder.heard, "all that was said before is heard")
    assert ConnectionLeft(1) not in holder.heard
    assert await worker.redis.sismember(KEYS.held("g1"), "call-1")
    await worker.redis.delete(KEYS.call("call-1"), KEYS.held("g1"))


async def test_owner_of_a_call_that_is_let_go_is_told(link: Link, downlink: Downlink, worker: Worker) -> None:
    """P8: it would keep the call for hours, and so would the gateway on its list."""
    del downlink
    attach = scripts.Attach("g1", "default", "/", "main", TTL_MS)
    await worker.run(script.ATTACH, scripts.attach_args(CallKeys.of(KEYS, "call-1"), attach))
    await worker.redis.sadd(KEYS.held("g1"), "call-1")
    await worker.claims("call-1")
    Leftovers(link, IDENTITY, lambda _: []).look()
    (notice,) = await worker.takes(KEYS.inbox(WORKER))
    assert (notice.call_sid, notice.kind) == ("call-1", DETACHED)
    assert not await worker.redis.exists(KEYS.held("g1"))
    assert await connections(worker.redis, "call-1") == {b"live": b"0"}
    await worker.redis.delete(KEYS.call("call-1"))


async def test_connections_of_one_call_hear_its_channel_until_each_has_left(
    link: Link, downlink: Downlink, worker: Worker
) -> None:
    """A main and a side line often come to the same gateway (P4)."""
    main, side = Holder(downlink), Holder(downlink)
    for holder, line in ((main, "main"), (side, "side")):
        downlink.attach(holder, Attach("call-1", line, is_reconnect=False))
        await until(lambda holder=holder: bool(holder.epochs), "the Connection is attached")
    await worker.redis.publish(KEYS.chan("call-1"), "E")
    await until(lambda: CallEnded() in main.heard and CallEnded() in side.heard, "both hear")
    downlink.forget(side, "call-1")
    main.heard.clear()
    side.heard.clear()
    await worker.redis.publish(KEYS.chan("call-1"), "E")
    await until(lambda: CallEnded() in main.heard, "who has stayed hears")
    assert (downlink.calls, CallEnded() in side.heard) == (1, False)
    downlink.forget(main, "call-1")
    assert downlink.calls == 0
    await link.call("PING")
    assert not await worker.redis.exists(KEYS.held("g1"))
    await worker.redis.delete(KEYS.call("call-1"))


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
    await attached(downlink)
    assert 0 < await worker.redis.ttl(KEYS.held("g1")) <= HELD_TTL_S
    await worker.redis.delete(KEYS.call("call-1"))
