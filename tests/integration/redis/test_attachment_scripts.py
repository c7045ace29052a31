"""attach, detach and acked against real servers (architecture.md section 6)."""

import pytest
import redis.asyncio

from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Attached, Claimed, Gone, OtherApp, Queued
from tests.integration.redis.desk import GRACE_MS, TTL_MS, Desk

pytestmark = pytest.mark.both_redis


@pytest.fixture
async def desk(link: Link, client: redis.asyncio.Redis) -> Desk:
    return Desk(link, client)


async def test_first_attach_makes_the_call(desk: Desk) -> None:
    """A Call begins with the first message of its socket."""
    assert await desk.attach() == Attached(1, "", 0, 0, is_acked=False, existed=False, live_epochs=(1,), app="ivr")
    claimed = await desk.claim()
    assert isinstance(claimed, Claimed)
    record = claimed.record
    assert (record.app, record.path, record.gateway, record.epoch) == ("ivr", "/ivr", "g1", 1)
    assert record.live == {1: ("g1", "main")}


async def test_each_new_connection_raises_the_epoch(desk: Desk) -> None:
    """Commands go to the newest Connection, so newest has to be a number."""
    await desk.attach()
    second = await desk.attach(gateway_id="g2", line="side", path="/other")
    assert isinstance(second, Attached)
    assert (second.epoch, second.existed, second.live_epochs) == (2, True, (1, 2))
    assert (await desk.field("gateway"), await desk.field("path")) == (b"g2", b"/other")


async def test_reconnect_forgets_the_connections_of_its_line_only(desk: Desk) -> None:
    """The dead main socket of a crashed gateway must not keep the Call alive; the side socket still lives."""
    await desk.attach()
    await desk.attach(line="side")
    again = await desk.attach(gateway_id="g2", is_reconnect=True)
    assert isinstance(again, Attached)
    assert again.live_epochs == (2, 3)
    assert await desk.detach(1) == 2


async def test_connection_that_is_no_reconnect_forgets_nobody(desk: Desk) -> None:
    """A second socket of the same line may live beside the first."""
    await desk.attach()
    second = await desk.attach()
    assert isinstance(second, Attached)
    assert second.live_epochs == (1, 2)


async def test_live_epochs_are_in_the_order_of_numbers(desk: Desk) -> None:
    """Ten comes after nine, not after one."""
    for _ in range(10):
        attached = await desk.attach()
    assert isinstance(attached, Attached)
    assert attached.live_epochs == tuple(range(1, 11))


async def test_attach_of_another_app_is_refused_and_changes_nothing(desk: Desk) -> None:
    """Nobody reaches a call of another application by knowing its call_sid (P9)."""
    await desk.attach()
    await desk.listen()
    before = await desk.client.hgetall(desk.keys.call)
    assert await desk.attach(app="thief") == OtherApp("ivr")
    assert await desk.attach(app="thief", epoch_known=7, seq_known=9) == OtherApp("ivr")
    assert await desk.client.hgetall(desk.keys.call) == before
    assert await desk.heard() == []


async def test_attach_and_detach_tell_the_channel(desk: Desk) -> None:
    """Other gateways learn at once who holds the newest Connection."""
    await desk.listen()
    await desk.attach(line="side")
    await desk.detach(1)
    assert await desk.heard() == [b"N1\x1fside", b"L1"]


async def test_attach_tells_owner_fence_seq_and_acked(desk: Desk) -> None:
    """A gateway that takes over goes on where the other one stood."""
    await desk.attach()
    ownership = await desk.owned()
    await desk.commit(ownership, 1, 1, b"batch")
    assert await desk.acked()
    assert await desk.attach(is_reconnect=True) == Attached(
        2, "w1", ownership.fence, 1, is_acked=True, existed=True, live_epochs=(2,), app="ivr"
    )


async def test_last_detach_starts_the_grace_time(desk: Desk) -> None:
    """A call whose socket never comes back goes by itself (P8)."""
    await desk.attach()
    await desk.attach(line="side")
    assert await desk.detach(1) == 1
    assert await desk.client.pttl(desk.keys.call) > GRACE_MS
    assert await desk.detach(2) == 0
    assert 0 < await desk.client.pttl(desk.keys.call) <= GRACE_MS


async def test_repeated_detach_tells_nobody_and_prolongs_nothing(desk: Desk) -> None:
    """A gateway that is unsure whether its detach arrived may say it again."""
    await desk.attach()
    await desk.detach(1, grace_ms=GRACE_MS)
    await desk.listen()
    assert await desk.detach(1, grace_ms=TTL_MS) == 0
    assert await desk.heard() == []
    assert await desk.client.pttl(desk.keys.call) <= GRACE_MS


async def test_attach_in_the_grace_time_brings_back_the_call(desk: Desk) -> None:
    """With all that waits for its delivery."""
    await desk.attach()
    await desk.send(b"batch")
    await desk.detach(1)
    attached = await desk.attach(is_reconnect=True)
    assert isinstance(attached, Attached)
    assert attached.existed
    assert await desk.client.pttl(desk.keys.call) > GRACE_MS
    assert await desk.log() == [(1, b"batch")]


async def test_detach_of_a_gone_call_says_so_and_makes_none(desk: Desk) -> None:
    """A late detach must not leave a hash without a time to live."""
    assert await desk.detach(1) == Gone()
    assert await desk.client.keys("*") == []


async def test_acked_of_a_gone_call_makes_none(desk: Desk) -> None:
    """As for detach."""
    assert not await desk.acked()
    assert await desk.client.keys("*") == []


async def test_acked_takes_the_ack_out_of_the_batch_it_was_in(desk: Desk) -> None:
    """Commands of that batch wait for the gate; one that has been delivered meanwhile stays away."""
    await desk.attach()
    ownership = await desk.owned()
    for n in (1, 2):
        await desk.commit(ownership, 1, n, b"ack and command")
    assert await desk.acked(1)
    assert await desk.acked(2, b"command")
    assert await desk.acked(3, b"of a batch that is gone")
    assert await desk.log() == [(1, b"ack and command"), (2, b"command")]


async def test_refill_after_loss_of_data_brings_back_the_numbers(desk: Desk) -> None:
    """Redis came back empty: the gateways tell it what they know (architecture.md section 8)."""
    await desk.attach()
    await desk.client.flushall()
    await desk.listen()
    refilled = await desk.attach(epoch_known=3, seq_known=17)
    assert isinstance(refilled, Attached)
    assert (refilled.epoch, refilled.existed, refilled.live_epochs) == (3, False, (3,))
    assert await desk.heard() == []
    assert await desk.send(b"batch") == Queued(refilled.seq + 1, "g1")
    assert await desk.log() == [(refilled.seq + 1, b"batch")]


async def test_seq_of_a_refilled_call_is_beyond_what_any_gateway_has_seen(desk: Desk) -> None:
    """The first gateway to refill may know less than the others, who take a seq they know for delivered (P4)."""
    await desk.attach(epoch_known=1, seq_known=15)
    queued = await desk.send(b"new")
    assert isinstance(queued, Queued)
    assert queued.seq > 1_000_000_000_000
    second = await desk.attach(gateway_id="g2", line="side", epoch_known=2, seq_known=17)
    assert isinstance(second, Attached)
    assert second.seq == queued.seq


async def test_refill_never_lowers_a_number(desk: Desk) -> None:
    """The gateway that comes second may know less; newer facts stay."""
    await desk.attach(gateway_id="g2", path="/new", line="side", epoch_known=3, seq_known=1 << 50)
    late = await desk.attach(gateway_id="g1", path="/old", epoch_known=2, seq_known=11)
    assert late == Attached(
        2, "", 0, 1 << 50, is_acked=False, existed=True, live_epochs=(2, 3), app="ivr", is_passed_over=True
    )
    assert (await desk.field("epoch"), await desk.field("gateway"), await desk.field("path")) == (b"3", b"g2", b"/new")
    third = await desk.attach()
    assert isinstance(third, Attached)
    assert third.epoch == 4


async def test_reattach_raises_the_seq_to_what_the_gateway_has_seen(desk: Desk) -> None:
    """Redis came back with data that is a second old: the next batch must not get a number the gateway knows."""
    await desk.attach()
    assert isinstance(await desk.attach(epoch_known=1, seq_known=17), Attached)
    assert await desk.send(b"batch") == Queued(18, "g1")


async def test_refill_forgets_nobody(desk: Desk) -> None:
    """``is_reconnect`` speaks of the old socket of a new Connection; in a refill all that are told live."""
    await desk.attach(epoch_known=1)
    second = await desk.attach(epoch_known=2, is_reconnect=True)
    assert isinstance(second, Attached)
    assert second.live_epochs == (1, 2)


async def test_refilled_call_is_known_to_be_acked(desk: Desk) -> None:
    """Otherwise the next socket would be owed the application, and say it once more (PROTOCOL.md 2.6.3)."""
    await desk.attach(epoch_known=1, is_acked_known=True)
    again = await desk.attach(is_reconnect=True)
    assert isinstance(again, Attached)
    assert again.is_acked


async def test_side_line_that_attaches_again_is_not_passed_over(desk: Desk) -> None:
    """After an outage of Redis its commands still go to it; only a newer one takes them (P4)."""
    await desk.attach()
    await desk.attach(line="side")
    again = await desk.attach(line="side", epoch_known=2)
    assert isinstance(again, Attached)
    assert not again.is_passed_over


async def test_reattach_of_a_connection_counts_it_once(desk: Desk) -> None:
    """A gateway repeats its attach after a reconnect to Redis; the Call must still end with one detach."""
    await desk.attach()
    again = await desk.attach(epoch_known=1)
    assert isinstance(again, Attached)
    assert again.live_epochs == (1,)
    assert await desk.detach(1) == 0
