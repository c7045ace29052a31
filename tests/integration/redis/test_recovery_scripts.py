"""restore and abandon, and the refill by gateways, against real servers (architecture.md sections 6 and 8)."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import redis.asyncio

from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Attached,
    Changes,
    Claimed,
    Committed,
    Duplicate,
    Fenced,
    Gone,
    Ownership,
    Queued,
    abandon_args,
    abandon_reply,
    restore_args,
    restore_reply,
)
from jambonz_shared.redis.scripts.recovery import Abandoned, Memory, Restored
from tests.integration.redis.desk import GRACE_MS, Desk

pytestmark = pytest.mark.both_redis

MEMORY = Memory("ivr", b'{"from":"1"}', "in-progress", {1: 4, 2: 7}, {"tries": b"2"})


@pytest.fixture
async def desk(link: Link, client: redis.asyncio.Redis) -> Desk:
    desk = Desk(link, client)
    await desk.attach()
    return desk


async def restore(desk: Desk, ownership: Ownership, memory: Memory = MEMORY) -> Restored | Fenced:
    args = restore_args(ownership, memory, GRACE_MS)
    return restore_reply(await desk.link.script_call(script.RESTORE, *args))


async def abandon(desk: Desk, gateway_id: str, staying: Iterable[int] = ()) -> Abandoned | Gone:
    args = abandon_args(desk.keys, gateway_id, GRACE_MS, staying)
    return abandon_reply(await desk.link.script_call(script.ABANDON, *args))


async def test_owner_brings_back_all_it_remembers(desk: Desk) -> None:
    """Redis came back empty: the worker that ran the call has its state in memory, nobody else has."""
    owner = await desk.owned()
    await desk.client.flushall()
    assert await restore(desk, owner) == Restored(0)
    assert 0 < await desk.client.pttl(desk.keys.call) <= GRACE_MS
    assert await desk.commit(owner, 2, 7) == Duplicate(int(await desk.field("seq") or 0))  # type: ignore[arg-type]
    again = await desk.claim("w1")
    assert isinstance(again, Claimed)
    record = again.record
    assert (record.app, record.epoch, record.owner) == ("ivr", 2, "w1")
    assert (record.facts, record.status) == (b'{"from":"1"}', "in-progress")
    assert (record.committed, record.state) == ({1: 4, 2: 7}, {"tries": b"2"})


async def test_batch_between_restore_and_refill_is_not_taken_for_delivered(desk: Desk) -> None:
    """Gateways skip what is not above the seq they have seen, so the new numbers start beyond all old ones (P4)."""
    owner = await desk.owned()
    for _ in range(17):
        await desk.send(b"batch")
    await desk.client.flushall()
    await restore(desk, owner)
    committed = await desk.commit(owner, 1, 5, b"new")
    assert isinstance(committed, Committed)
    assert committed.seq > 17
    attached = await desk.attach(epoch_known=1, seq_known=17)
    assert isinstance(attached, Attached)
    assert (attached.seq, attached.existed) == (committed.seq, True)
    assert await desk.log() == [(committed.seq, b"new")]
    assert await desk.send(b"next") == Queued(committed.seq + 1, "g1")


async def test_restore_of_what_redis_kept_changes_no_number(desk: Desk) -> None:
    """A worker that only thinks that Redis lost something does no harm."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 9, b"batch", Changes(state={"other": b"1"}))
    await desk.listen()
    assert await restore(desk, owner, replace(MEMORY, state={"other": b"1"})) == Restored(1)
    # A gateway that found no inbox holds its events until it hears of an owner.
    assert await desk.heard() == [b"O%d\x1fw1" % owner.fence]
    assert await desk.client.pttl(desk.keys.call) > GRACE_MS
    assert (await desk.field("d:1"), await desk.field("s:other")) == (b"9", b"1")
    assert await desk.log() == [(1, b"batch")]


async def test_owner_that_knows_no_facts_takes_none_away(desk: Desk) -> None:
    """Its call may have begun without a session:new; what Redis has was told by another worker."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, changes=Changes(facts=b'{"from":"1"}', status="ringing"))
    await restore(desk, owner, Memory("ivr"))
    assert (await desk.field("facts"), await desk.field("status")) == (b'{"from":"1"}', b"ringing")


async def test_commit_to_a_call_without_connections_does_not_prolong_it(desk: Desk) -> None:
    """Made anew by its owner, it lives for the grace time unless its gateway is back by then (P8)."""
    owner = await desk.owned()
    await desk.client.flushall()
    await restore(desk, owner)
    await desk.commit(owner, 2, 8, b"batch")
    assert await desk.client.pttl(desk.keys.call) <= GRACE_MS


async def test_state_that_was_deleted_in_a_lost_second_does_not_come_back(desk: Desk) -> None:
    """The owner names all of its state, so what Redis has beside that is older than its deletion."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, changes=Changes(state={"tries": b"1", "secret": b"1"}))
    assert await restore(desk, owner) == Restored(1)
    assert (await desk.field("s:tries"), await desk.field("s:secret")) == (b"2", None)


async def test_seq_of_a_lost_second_is_not_given_again(desk: Desk) -> None:
    """A gateway has delivered batch 3, Redis knows of 1 only: another 2 or 3 would be taken for delivered (P4)."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, b"one")
    for write in (
        lambda: restore(desk, owner),
        lambda: desk.claim("w1", is_young=True),
        lambda: desk.send(b"batch", is_young=True),
    ):
        await desk.client.hset(desk.keys.call, "seq", 1)
        now_s, _ = await desk.client.time()
        await write()
        seq = int(await desk.client.hget(desk.keys.call, "seq") or 0)
        assert seq >= now_s * 1000
    assert await desk.send(b"next") == Queued(seq + 1, "g1")


async def test_young_link_does_not_lower_a_seq(desk: Desk) -> None:
    """It may be ahead of the clock after a fail-over to a host whose clock is behind."""
    ahead = (await desk.client.time())[0] * 1000 + 3_600_000
    await desk.client.hset(desk.keys.call, "seq", ahead)
    owner = await desk.owned()
    await restore(desk, owner)
    await desk.claim("w1", is_young=True)
    assert await desk.send(b"batch", is_young=True) == Queued(ahead + 1, "g1")


async def test_restore_after_another_claim_is_fenced_and_changes_nothing(desk: Desk) -> None:
    """The worker was so slow that its call has moved (P5)."""
    slow = await desk.owned("w1")
    await desk.orphan("w1")
    before = await desk.client.hgetall(desk.keys.call)
    assert await restore(desk, slow) == Fenced("")
    assert await desk.client.hgetall(desk.keys.call) == before
    await desk.owned("w2")
    before = await desk.client.hgetall(desk.keys.call)
    assert await restore(desk, slow) == Fenced("w2")
    assert await desk.client.hgetall(desk.keys.call) == before


async def test_restore_after_loss_and_another_claim_is_fenced(desk: Desk) -> None:
    """Refilled without an owner, claimed by the next worker: its fence, the clock, is higher than any before."""
    slow = await desk.owned("w1")
    await desk.client.flushall()
    await desk.attach(epoch_known=1)
    await desk.owned("w2")
    assert await restore(desk, slow) == Fenced("w2")


async def test_restore_brings_back_a_claim_that_redis_lost(desk: Desk) -> None:
    """An append-only file may lack the last second: the older owner in it is no owner any more."""
    first = await desk.owned("w1")
    newer = Ownership(desk.keys, "w2", first.fence + 2, first.ttl_ms)
    await desk.listen()
    assert await restore(desk, newer) == Restored(1)
    assert await desk.heard() == [b"O%d\x1fw2" % newer.fence]
    assert await desk.commit(first, 1, 20, b"late") == Fenced("w2")
    assert isinstance(await desk.commit(newer, 1, 20, b"batch"), Committed)


async def test_restore_tells_gateways_of_the_owner(desk: Desk) -> None:
    """A gateway that refilled without knowing the owner would send the call to another worker."""
    owner = await desk.owned()
    await desk.client.flushall()
    await desk.attach(epoch_known=1)
    await desk.listen()
    await restore(desk, owner)
    assert await desk.heard() == [b"O%d\x1fw1" % owner.fence]


async def test_restore_takes_more_fields_than_lua_unpacks_at_once(desk: Desk) -> None:
    """As for commit."""
    owner = await desk.owned()
    await desk.client.flushall()
    await restore(desk, owner, replace(MEMORY, state={f"f{number}": b"1" for number in range(10_000)}))
    assert await desk.field("s:f9999") == b"1"


async def test_gateway_tells_a_redis_that_lost_the_call_who_owned_it(desk: Desk) -> None:
    """The owner goes on without a claim; events need not look for another worker."""
    owner = await desk.owned()
    await desk.client.flushall()
    refilled = await desk.attach(
        epoch_known=1, seq_known=3, owner_known="w1", fence_known=owner.fence, is_acked_known=True
    )
    assert isinstance(refilled, Attached)
    assert (refilled.owner, refilled.fence, refilled.is_acked, refilled.existed) == ("w1", owner.fence, True, False)
    assert await desk.commit(owner, 1, 1, b"batch") == Committed(refilled.seq + 1)


async def test_gateway_that_knows_less_than_redis_changes_nothing(desk: Desk) -> None:
    """A notice of the new owner may still be on its way to the gateway."""
    first = await desk.owned("w1")
    await desk.orphan("w1")
    second = await desk.owned("w2")
    again = await desk.attach(epoch_known=1, owner_known="w1", fence_known=first.fence)
    assert isinstance(again, Attached)
    assert (again.owner, again.fence) == ("w2", second.fence)
    assert await desk.commit(second, 1, 1, b"batch") == Committed(1)


async def test_gateway_adds_what_the_owner_did_not_restore(desk: Desk) -> None:
    """Owner and gateways come in any order; that the first hook was acked only the gateway knows."""
    owner = await desk.owned()
    await desk.client.flushall()
    await restore(desk, owner)
    refilled = await desk.attach(epoch_known=1, owner_known="w1", fence_known=owner.fence, is_acked_known=True)
    assert isinstance(refilled, Attached)
    assert (refilled.is_acked, refilled.owner, refilled.live_epochs) == (True, "w1", (1,))


async def test_new_connection_knows_no_owner_but_what_it_has_acked(desk: Desk) -> None:
    """What a new socket says of owners is not asked for. It may have acked the call while Redis was away."""
    attached = await desk.attach(owner_known="thief", fence_known=1 << 52, is_acked_known=True)
    assert isinstance(attached, Attached)
    assert (attached.owner, attached.fence, attached.is_acked) == ("", 0, True)


async def test_connections_of_a_dead_gateway_leave_the_call(desk: Desk) -> None:
    """Those of other gateways stay."""
    await desk.attach(gateway_id="g2", line="side")
    await desk.attach(line="side")
    await desk.owned("w1")
    await desk.listen()
    assert await abandon(desk, "g1") == Abandoned(1, "w1", "ivr")
    assert sorted(await desk.heard()) == [b"L1", b"L3"]
    assert await desk.client.pttl(desk.keys.call) > GRACE_MS
    attached = await desk.attach()
    assert isinstance(attached, Attached)
    assert attached.live_epochs == (2, 4)


async def test_connections_that_a_living_gateway_holds_stay(desk: Desk) -> None:
    """A Redis without its last second knows one that has left already, and one that has not."""
    await desk.attach(line="side")
    await desk.listen()
    assert await abandon(desk, "g1", staying=[2]) == Abandoned(1, "", "ivr")
    assert await desk.heard() == [b"L1"]


async def test_gateway_without_a_connection_hears_of_those_of_others(desk: Desk) -> None:
    """It would tell the owner that its call has none left."""
    assert await abandon(desk, "g2") == Abandoned(1, "", "ivr")


async def test_call_of_a_dead_gateway_alone_lives_for_the_grace_time(desk: Desk) -> None:
    """Jambonz reconnects within it, or never."""
    assert await abandon(desk, "g1") == Abandoned(0, "", "ivr")
    assert 0 < await desk.client.pttl(desk.keys.call) <= GRACE_MS


async def test_abandon_may_be_repeated(desk: Desk) -> None:
    """An adopter may die half-way."""
    await abandon(desk, "g1")
    await desk.client.pexpire(desk.keys.call, GRACE_MS // 2)
    await desk.listen()
    assert await abandon(desk, "g1") == Abandoned(0, "", "ivr")
    assert await desk.heard() == []
    assert await desk.client.pttl(desk.keys.call) <= GRACE_MS // 2


async def test_abandon_takes_the_whole_name_of_the_gateway(desk: Desk) -> None:
    """``g1`` is not ``g11``."""
    await desk.attach(gateway_id="g11")
    assert await abandon(desk, "g1") == Abandoned(1, "", "ivr")


async def test_abandon_of_a_gone_call_makes_none(link: Link, client: redis.asyncio.Redis) -> None:
    """The list of a gateway's calls may be older than their end."""
    assert await abandon(Desk(link, client), "g1") == Gone()
    assert await client.keys("*") == []
