"""claim, end and orphan against real servers (architecture.md section 6)."""

import time

import pytest
import redis.asyncio

from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Changes,
    Claimed,
    Committed,
    Ended,
    Fenced,
    Gone,
    Orphaned,
    OwnedBy,
    Ownership,
    StillLive,
)
from tests.integration.redis.desk import TTL_MS, Desk

pytestmark = pytest.mark.both_redis


@pytest.fixture
async def desk(link: Link, client: redis.asyncio.Redis) -> Desk:
    desk = Desk(link, client)
    await desk.attach()
    return desk


async def test_claim_of_a_gone_call_makes_none(link: Link, client: redis.asyncio.Redis) -> None:
    """An event may come after the end of its call."""
    assert await Desk(link, client).claim() == Gone()
    assert await client.keys("*") == []


async def test_claim_gives_all_that_was_committed(desk: Desk) -> None:
    """The next owner starts from the committed state (P3)."""
    first = await desk.owned("w1")
    changes = Changes(b'{"from":"1"}', "in-progress", {"tries": b"2", "näme": b'"x"'})
    await desk.commit(first, 1, 4, b"batch", changes)
    await desk.orphan("w1")
    claimed = await desk.claim("w2")
    assert isinstance(claimed, Claimed)
    record = claimed.record
    assert (record.owner, record.fence, record.seq) == ("w2", claimed.fence, 1)
    assert (record.facts, record.status) == (b'{"from":"1"}', "in-progress")
    assert (record.state, record.committed) == ({"tries": b"2", "näme": b'"x"'}, {1: 4})


async def test_call_has_one_owner(desk: Desk) -> None:
    """Two workers that got events of one call: the second learns who is the first."""
    await desk.owned("w1")
    assert await desk.claim("w2") == OwnedBy("w1")


async def test_each_claim_raises_the_fence(desk: Desk) -> None:
    """Also that of the same worker: what it began before a stall is fenced off."""
    first, second = await desk.owned("w1"), await desk.owned("w1")
    assert second.fence == first.fence + 1
    assert await desk.commit(first, 1, 1, b"old") == Fenced("w1")
    assert await desk.commit(second, 1, 1, b"new") == Committed(1)


async def test_claim_and_orphan_tell_the_channel(desk: Desk) -> None:
    """Gateways route by these notices alone."""
    await desk.listen()
    fence = (await desk.owned("w1")).fence
    await desk.orphan("w1")
    assert await desk.heard() == [b"O%d\x1fw1" % fence, b"O%d\x1f" % (fence + 1)]


async def test_fence_rises_over_a_loss_of_data(desk: Desk) -> None:
    """Neither an old owner nor a gateway that remembers the old fence is misled after a refill."""
    old = await desk.owned("w1")
    before_ms = time.time() * 1000
    await desk.client.flushall()
    await desk.attach(epoch_known=1)
    new = await desk.owned("w2")
    assert new.fence > old.fence
    # The first fence is the Redis clock; server and test run on one machine.
    assert before_ms - 1 <= new.fence <= time.time() * 1000 + 1
    assert await desk.commit(old, 1, 9, b"old") == Fenced("w2")
    assert await desk.end(old) == Fenced("w2")


async def test_owner_of_a_refilled_call_must_claim_again(desk: Desk) -> None:
    """Redis does not know the owner any more, so nobody may act before a claim."""
    old = await desk.owned("w1")
    await desk.client.flushall()
    await desk.attach(epoch_known=1)
    assert await desk.commit(old, 1, 2, b"batch") == Fenced("")


async def test_orphaned_call_can_be_claimed_by_anybody_and_fences_its_owner(desk: Desk) -> None:
    """A worker that was only slow wakes up and can no longer act on the call (P5)."""
    slow = await desk.owned("w1")
    assert await desk.orphan("w1") == Orphaned()
    assert await desk.commit(slow, 1, 1, b"late") == Fenced("")
    fast = await desk.owned("w2")
    assert fast.fence > slow.fence
    assert await desk.commit(slow, 1, 1, b"late") == Fenced("w2")
    assert await desk.log() == []


async def test_orphan_takes_a_call_from_the_named_worker_only(desk: Desk) -> None:
    """Adopters of a dead worker work from a list that may be old."""
    await desk.owned("w2")
    await desk.listen()
    assert await desk.orphan("w1") == OwnedBy("w2")
    assert await desk.claim("w1") == OwnedBy("w2")
    assert await desk.heard() == []


async def test_orphan_of_an_unowned_call_changes_nothing(desk: Desk) -> None:
    """A second adopter finds the work done."""
    await desk.owned("w1")
    await desk.orphan("w1")
    assert await desk.orphan("w1") == OwnedBy("")


async def test_orphan_of_a_gone_call_makes_none(link: Link, client: redis.asyncio.Redis) -> None:
    """As for claim."""
    assert await Desk(link, client).orphan("w1") == Gone()
    assert await client.keys("*") == []


async def test_end_leaves_nothing(desk: Desk) -> None:
    """When a call has ended, nothing of it stays (P8)."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, b"batch", Changes(state={"a": b"1"}))
    await desk.detach(1)
    await desk.listen()
    assert await desk.end(owner) == Ended()
    assert await desk.client.keys("*") == []
    assert await desk.heard() == [b"E"]
    assert await desk.end(owner) == Gone()


async def test_end_with_the_fence_of_an_earlier_claim_is_fenced(desk: Desk) -> None:
    """The same worker has lost the call and got it back: the end is that of a past it does not know (P5)."""
    earlier = await desk.owned("w1")
    await desk.owned("w1")
    await desk.detach(1)
    assert await desk.end(earlier) == Fenced("w1")


async def test_end_with_live_connections_does_nothing(desk: Desk) -> None:
    """The socket came back between the notice of the end and the end."""
    owner = await desk.owned()
    await desk.listen()
    assert await desk.end(owner) == StillLive()
    assert await desk.commit(owner, 1, 1, b"batch") == Committed(1)
    assert await desk.heard() == [b"D1\nbatch"]


async def test_end_by_an_old_owner_is_fenced(desk: Desk) -> None:
    """A call that has moved is ended by its new owner."""
    old = await desk.owned("w1")
    await desk.detach(1)
    await desk.orphan("w1")
    assert await desk.end(old) == Fenced("")
    await desk.owned("w2")
    assert await desk.end(old) == Fenced("w2")


async def test_nobody_ends_or_commits_with_a_guessed_fence(desk: Desk) -> None:
    """Fence and owner both have to be right."""
    owner = await desk.owned("w1")
    other = Ownership(desk.keys, "w2", owner.fence, TTL_MS)
    assert await desk.commit(other, 1, 1, b"batch") == Fenced("w1")
    await desk.detach(1)
    assert await desk.end(other) == Fenced("w1")
