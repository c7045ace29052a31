"""commit and send against real servers (architecture.md section 6)."""

import asyncio

import pytest
import redis.asyncio

from jambonz_shared.redis import script
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    EARLY,
    Changes,
    Claimed,
    Committed,
    Duplicate,
    Fenced,
    Full,
    Gone,
    Queued,
    bounded,
    claim_args,
    commit_args,
    commit_reply,
)
from tests.integration.redis.desk import GRACE_MS, TTL_MS, Desk

pytestmark = pytest.mark.both_redis


@pytest.fixture
async def desk(link: Link, client: redis.asyncio.Redis) -> Desk:
    desk = Desk(link, client)
    await desk.attach()
    return desk


async def test_batch_is_in_the_log_and_on_the_channel(desk: Desk) -> None:
    """The channel is fast, the log is the truth; both hold the same bytes, whatever these are."""
    owner = await desk.owned()
    await desk.listen()
    batch = bytes(range(256))
    assert await desk.commit(owner, 1, 1, batch) == Committed(1)
    assert await desk.commit(owner, 1, 2, b"second") == Committed(2)
    assert await desk.heard() == [b"D1\n" + batch, b"D2\nsecond"]
    assert await desk.log() == [(1, batch), (2, b"second")]


async def test_commit_without_batch_keeps_the_seq(desk: Desk) -> None:
    """A Notice that only changes the state makes no entry, so gateways see no gap."""
    owner = await desk.owned()
    await desk.listen()
    assert await desk.commit(owner, 1, 1, changes=Changes(state={"a": b"1"})) == Committed(0)
    assert await desk.commit(owner, 1, 2, b"batch") == Committed(1)
    assert await desk.heard() == [b"D1\nbatch"]
    assert await desk.field("s:a") == b"1"


async def test_event_is_committed_once(desk: Desk) -> None:
    """A redelivered event has its effects once (P3)."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 2, b"batch", Changes(state={"a": b"1"}))
    again = Changes(b"{}", "failed", {"a": b"2"})
    assert await desk.commit(owner, 1, 2, b"again", again) == Duplicate(1)
    assert await desk.commit(owner, 1, 1, b"earlier", again) == Duplicate(1)
    assert await desk.log() == [(1, b"batch")]
    assert (await desk.field("s:a"), await desk.field("facts"), await desk.field("status")) == (b"1", None, None)


async def test_commit_waits_for_its_predecessor_that_redis_refused(desk: Desk) -> None:
    """A commit refused for a while (out of memory) is repeated; one behind it must not take its effects for done."""
    ownership = await desk.owned()
    assert isinstance(await desk.commit(ownership, 1, 1), Committed)

    async def commit(n: int, previous: int) -> object:
        args = commit_args(ownership, (1, n), b"batch", previous=previous)
        return await desk.link.script_call(script.COMMIT, *args)

    assert await commit(3, previous=2) == EARLY
    assert await commit(2, previous=1) == 1
    assert await commit(3, previous=2) == 2


async def test_refusal_inside_a_script_has_the_code_of_its_command(desk: Desk) -> None:
    """Redis 6.2 wraps it, yet a commit that memory has run out for, or that met a replica, is to be repeated."""
    args = commit_args(await desk.owned(), (1, 1), b"batch")
    await desk.client.set(desk.keys.call, "no hash", px=60_000)
    with pytest.raises(ResponseError) as raised:
        await desk.link.script_call(script.COMMIT, *args)
    assert raised.value.code == "WRONGTYPE"


async def test_events_are_counted_per_epoch(desk: Desk) -> None:
    """Each Connection numbers its own events."""
    owner = await desk.owned()
    assert await desk.commit(owner, 1, 5, b"a") == Committed(1)
    assert await desk.commit(owner, 2, 1, b"b") == Committed(2)
    assert await desk.commit(owner, 1, 5, b"c") == Duplicate(2)


async def test_event_ten_is_no_duplicate_of_nine(desk: Desk) -> None:
    """Numbers are compared as numbers."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 9, b"a")
    assert await desk.commit(owner, 1, 10, b"b") == Committed(2)


async def test_commit_that_is_no_event_is_never_a_duplicate(desk: Desk) -> None:
    """Background work of the owner commits as often as it likes."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 3, b"event")
    assert await desk.commit(owner, 0, 0, b"work") == Committed(2)
    assert await desk.commit(owner, 0, 0, b"work") == Committed(3)
    assert await desk.field("d:1") == b"3"
    assert await desk.field("d:0") is None


async def test_empty_facts_and_status_change_nothing_and_empty_json_deletes(desk: Desk) -> None:
    """A commit names what it changes."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, changes=Changes(b"{}", "ringing", {"a": b"1", "b": b"2"}))
    await desk.commit(owner, 1, 2, changes=Changes(state={"a": b"", "never": b""}))
    assert (await desk.field("facts"), await desk.field("status")) == (b"{}", b"ringing")
    assert (await desk.field("s:a"), await desk.field("s:b")) == (None, b"2")


async def test_commit_takes_more_fields_than_lua_unpacks_at_once(desk: Desk) -> None:
    """A big state is no reason to fail in the middle."""
    owner = await desk.owned()
    names = [f"f{number}" for number in range(10_000)]
    await desk.commit(owner, 1, 1, b"batch", Changes(state=dict.fromkeys(names, b"1")))
    assert await desk.field("s:f9999") == b"1"
    await desk.commit(owner, 1, 2, b"batch", Changes(state=dict.fromkeys(names, b"")))
    assert await desk.field("s:f9999") is None
    assert await desk.field("d:1") == b"2"


async def test_fenced_commit_changes_nothing(desk: Desk) -> None:
    """A worker that has lost a call can no longer act on it (P5)."""
    old = await desk.owned("w1")
    await desk.orphan("w1")
    await desk.owned("w2")
    before = await desk.client.hgetall(desk.keys.call)
    await desk.listen()
    assert await desk.commit(old, 1, 1, b"late", Changes(b"{}", "failed", {"a": b"1"})) == Fenced("w2")
    assert await desk.client.hgetall(desk.keys.call) == before
    assert (await desk.heard(), await desk.log()) == ([], [])


async def test_commit_and_send_to_a_gone_call_make_none(link: Link, client: redis.asyncio.Redis) -> None:
    """Effects of a call that has ended must not leave keys behind (P8); the sender is told (P4)."""
    desk = Desk(link, client)
    await desk.attach()
    owner = await desk.owned()
    await client.flushall()
    assert await desk.commit(owner, 1, 1, b"batch", Changes(state={"a": b"1"})) == Gone()
    assert await desk.send(b"batch") == Gone()
    assert await client.keys("*") == []


async def test_commit_to_a_call_nobody_has_claimed_is_fenced(desk: Desk) -> None:
    """Not "gone": the call lives."""
    owner = await desk.owned()
    await desk.client.hdel(desk.keys.call, "owner", "fence")
    assert await desk.commit(owner, 1, 1, b"batch") == Fenced("")


async def test_send_needs_no_fence_and_shares_the_numbers(desk: Desk) -> None:
    """Any process can control any call (P5)."""
    owner = await desk.owned()
    await desk.listen()
    await desk.commit(owner, 1, 1, b"a")
    assert await desk.send(b"b") == Queued(2, "g1")
    assert await desk.commit(owner, 1, 2, b"c") == Committed(3)
    assert await desk.heard() == [b"D1\na", b"D2\nb", b"D3\nc"]


@pytest.mark.parametrize("by", ["commit", "send"])
async def test_work_in_the_grace_time_does_not_prolong_it(desk: Desk, by: str) -> None:
    """Nothing but a Connection keeps a call alive (P8)."""
    owner = await desk.owned()
    await desk.detach(1)
    reply = await (desk.commit(owner, 1, 1, b"batch") if by == "commit" else desk.send(b"batch"))
    assert isinstance(reply, Committed | Queued)
    assert 0 < await desk.client.pttl(desk.keys.call) <= GRACE_MS


@pytest.mark.parametrize("by", ["commit", "send", "commit without batch"])
async def test_work_on_a_live_call_renews_it(desk: Desk, by: str) -> None:
    """A call that outlives ``call_ttl`` stays as long as something happens on it."""
    owner = await desk.owned()
    await desk.client.pexpire(desk.keys.call, TTL_MS // 2 - 1000)
    if by == "send":
        await desk.send(b"batch")
    else:
        await desk.commit(owner, 1, 1, b"batch" if by == "commit" else b"")
    assert await desk.client.pttl(desk.keys.call) > TTL_MS - 60_000


async def test_commit_that_leaves_the_time_to_live_alone_does_so(desk: Desk) -> None:
    """The owner renews it every now and then only; a time of 0 would delete the call."""
    owner = await desk.owned()
    await desk.client.pexpire(desk.keys.call, 1_000_000)
    args = commit_args(owner, (1, 1), b"batch", renews=False)
    await desk.link.script_call(script.COMMIT, *args)
    assert 0 < await desk.client.pttl(desk.keys.call) <= 1_000_000


async def test_delivered_batches_do_not_come_again_and_numbers_go_on(desk: Desk) -> None:
    """Delivered batches are deleted by the gateway; the numbers go on behind them."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, b"a")
    await desk.delivered(1)
    assert await desk.commit(owner, 1, 2, b"b") == Committed(2)
    assert await desk.log() == [(2, b"b")]


async def test_log_is_read_behind_the_cursor_in_the_order_of_numbers(desk: Desk) -> None:
    """A gap of two batches after eight delivered ones: ten comes after nine, not before."""
    for n in range(1, 12):
        await desk.send(b"%d" % n)
    await desk.delivered(9)
    assert await desk.log(after_seq=7) == [(8, b"8"), (10, b"10"), (11, b"11")]
    assert await desk.log(after_seq=11) == []


async def test_log_of_a_gone_call_is_empty(link: Link, client: redis.asyncio.Redis) -> None:
    """A gateway may ask for it late."""
    assert await Desk(link, client).log() == []
    assert await client.keys("*") == []


async def test_fields_named_like_batches_do_not_mix_with_the_state(desk: Desk) -> None:
    """Call state and log share a hash: who claims gets the state alone, who reads the log gets batches alone."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, b"batch", Changes(state={"b:1": b"1", "b:x": b"2"}))
    claimed = await desk.claim()
    assert isinstance(claimed, Claimed)
    assert claimed.record.state == {"b:1": b"1", "b:x": b"2"}
    assert await desk.log() == [(1, b"batch")]


async def test_claim_hands_no_batches_to_the_worker(desk: Desk) -> None:
    """They may be large, and are its gateway's."""
    await desk.send(b"batch")
    reply = await desk.link.script_call(script.CLAIM, *claim_args(desk.keys, "w1", "ivr"))
    assert isinstance(reply, list)
    assert b"fence" in reply
    assert b"b:1" not in reply


async def test_send_is_refused_while_too_many_batches_wait(desk: Desk) -> None:
    """A loop that sends to a call without a websocket must not fill Redis; what is delivered makes room again."""
    await desk.detach(1)
    for seq in range(1, 1001):
        assert await desk.send(b"batch") == Queued(seq, "g1")
    before = await desk.client.hgetall(desk.keys.call)
    await desk.listen()
    assert await desk.send(b"batch") == Full(1000)
    assert await desk.client.hgetall(desk.keys.call) == before
    assert await desk.heard() == []
    await desk.delivered(1)
    assert await desk.send(b"batch") == Queued(1001, "g1")


async def test_commit_may_be_refused_its_batch_while_too_many_wait(desk: Desk) -> None:
    """Background work that goes on in a loop must not fill Redis, either; its state and its number are taken (P3)."""
    owner = await desk.owned()
    await desk.detach(1)

    async def commit(n: int) -> object:
        args = commit_args(owner, (-7, n), b"batch", Changes(state={"n": b"%d" % n}), previous=n - 1)
        return commit_reply(await desk.link.script_call(script.COMMIT, *bounded(args)))

    for n in range(1, 1001):
        assert await commit(n) == Committed(n)
    await desk.listen()
    assert await commit(1001) == Full(1000)
    assert (await desk.field("seq"), await desk.field("d:-7"), await desk.field("s:n")) == (b"1000", b"1001", b"1001")
    assert (await desk.heard(), len(await desk.log())) == ([], 1000)
    assert await desk.field("") is None
    assert await desk.commit(owner, 1, 1, b"event") == Committed(1001), "what handles an event is taken in any case"
    await desk.delivered(1, 2)
    assert await commit(1002) == Committed(1002)


async def test_state_does_not_count_as_batches_that_wait(desk: Desk) -> None:
    """A call with thousands of fields can be commanded like any other."""
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, changes=Changes(state={f"f{number}": b"1" for number in range(2000)}))
    assert await desk.send(b"batch") == Queued(1, "g1")


async def test_batches_of_many_writers_have_one_order_everywhere(desk: Desk) -> None:
    """Log and channel agree, whoever sends what at the same time."""
    owner = await desk.owned()
    await desk.listen()
    both = [desk.commit(owner, 1, n, b"c%d" % n) for n in range(1, 51)], [desk.send(b"s%d" % n) for n in range(50)]
    await asyncio.gather(*both[0], *both[1])
    log = await desk.log()
    assert [seq for seq, _ in log] == list(range(1, 101))
    assert await desk.heard() == [b"D%d\n%s" % entry for entry in log]
