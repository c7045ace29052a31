"""Calls of a gateway that is cut off from Redis, or whose Redis is full or has forgotten them."""

import orjson
import pytest

from jambonz_shared.directive import Ack, encode_batch
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.scripts import CallKeys
from tests.conditions import until
from tests.integration.gateway.gateways import (
    DISPATCH,
    KEYS,
    SAY,
    TTL_MS,
    WORKER,
    Worker,
    begun,
    caller,
    finished,
    gateway,
    killed_links,
    log_is_empty,
    redirect,
)


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


async def test_call_that_begins_while_the_channels_are_cut_attaches_once(redis_url: str, worker: Worker) -> None:
    """A second attachment would look like a newer socket of the call, and its own be closed as half-open."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await worker.redis.client_kill_filter(_type="pubsub", skipme=True)
        msgid = await jambonz.says("session:new", direction="inbound")
        await worker.takes(DISPATCH)
        await worker.claims("call-1")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        assert (await jambonz.hears())["msgid"] == msgid
        assert await worker.redis.hget(KEYS.call("call-1"), "epoch") == b"1"
        await finished(jambonz, worker)


async def test_what_the_channel_has_not_said_is_found_when_it_is_subscribed_again(
    redis_url: str, worker: Worker
) -> None:
    """P4: it was said while the channel was deaf, and nothing else tells of the command, or of the new owner."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        await worker.opens_inbox("worker-2")
        call = KEYS.call("call-1")
        seq, fence = (int(number or 0) for number in await worker.redis.hmget(call, "seq", "fence"))
        batch = encode_batch([redirect("call-1")])
        unsaid = {"owner": "worker-2", "fence": fence + 1, "seq": seq + 1, scripts.batch_field(seq + 1): batch}
        await worker.redis.hset(call, mapping=unsaid)  # type: ignore[arg-type]
        await worker.redis.client_kill_filter(_type="pubsub", skipme=True)
        assert (await jambonz.hears())["command"] == "redirect"
        msgid = await jambonz.says("verb:hook")
        assert [it.msgid for it in await worker.takes(KEYS.inbox("worker-2"))] == [msgid]
        await worker.redis.hset(call, mapping={"owner": WORKER, "fence": fence})
        await finished(jambonz, worker)


async def test_ack_for_the_older_socket_waits_for_its_gateway_that_was_deaf(redis_url: str, worker: Worker) -> None:
    """P1: the newer socket's gateway has heard it, too; if it deleted that, the hook would get the fallback."""
    async with (
        gateway(redis_url) as main,
        caller(main.url + "/", "call-1") as jambonz,
        gateway(redis_url) as side,
        caller(side.url + "/", "call-1") as redirected,
    ):
        await begun(jambonz, worker)
        deaf = max(await worker.redis.client_list(_type="pubsub"), key=lambda it: int(it["sub"]))["id"]
        frame = {"type": "session:redirect", "msgid": "r", "hook": "/next", "data": {"call_sid": "call-1"}}
        await redirected.socket.send(orjson.dumps(frame).decode())
        msgid = await jambonz.says("verb:hook")
        await worker.takes(KEYS.inbox(WORKER), 2)
        keys, args = scripts.send_args(CallKeys.of(KEYS, "call-1"), TTL_MS, encode_batch([Ack("a", 1, msgid, SAY)]))
        async with worker.redis.pipeline(transaction=True) as pipeline:
            pipeline.client_kill_filter(_id=deaf)
            pipeline.eval(script.SEND.source.decode(), len(keys), *keys, *args)
            await pipeline.execute()
        # Not the gateway's own ack at the deadline, which has no data.
        assert (await jambonz.hears()).get("data") == [{"verb": "say", "text": "hi"}]
        await worker.sends("call-1", Ack("b", 2, "r", SAY))
        assert (await redirected.hears())["msgid"] == "r"
        await log_is_empty(worker, "call-1")
        await redirected.socket.close(1000)
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
        gateway_id = await worker.redis.hget(KEYS.call("call-1"), "gateway")
        assert isinstance(gateway_id, bytes)
        assert await worker.redis.sismember(KEYS.held(gateway_id.decode()), "call-1"), "should this gateway die"
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
        await worker.restores("call-1")
        msgid = await jambonz.says("verb:hook")
        await worker.sends("call-1", Ack("a", 1, msgid, SAY))
        # Not the gateway's own ack at the deadline.
        assert (await jambonz.hears())["data"] == [{"verb": "say", "text": "hi"}]
        await worker.takes(KEYS.inbox(WORKER))
        await finished(jambonz, worker)


async def test_redis_without_memory_is_waited_for(redis_url: str, worker: Worker) -> None:
    """A call that comes while Redis refuses writes is attached, and its events published, as soon as it takes them."""
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await worker.redis.config_set("maxmemory", 1)
        try:
            msgid = await jambonz.says("session:new", direction="inbound")

            async def has_tried() -> bool:
                return await running.metric("jambonz_gateway_redis_refusals_total") >= 2

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
        # An alert looks at these: nothing was wrong with the gateway.
        assert await running.metric("jambonz_gateway_failures_total") == 0
        await finished(jambonz, worker)


@pytest.mark.parametrize("is_attached", [False, True])
async def test_ack_that_redis_could_not_note_is_noted_later(
    redis_url: str, worker: Worker, *, is_attached: bool
) -> None:
    """The caller has heard the fallback; the next socket of the call must not get the application again."""

    async def is_noted() -> bool:
        return await worker.redis.hget(KEYS.call("call-1"), "acked") == b"1"

    async with gateway(redis_url, ack_deadline_s=2) as running, caller(running.url + "/", "call-1") as jambonz:
        if not is_attached:
            await worker.redis.config_set("maxmemory", 1)
        try:
            msgid = await jambonz.says("session:new", direction="inbound")
            if is_attached:
                await worker.takes(DISPATCH)
                await worker.claims("call-1")
                await worker.redis.config_set("maxmemory", 1)
            assert (await jambonz.hears())["msgid"] == msgid
            refusals = await running.metric("jambonz_gateway_redis_refusals_total")

            async def was_refused() -> bool:
                return await running.metric("jambonz_gateway_redis_refusals_total") > refusals

            await until(was_refused, "it was refused since")
            assert not await is_noted()
        finally:
            await worker.redis.config_set("maxmemory", 0)
        if not is_attached:
            await worker.takes(DISPATCH)
            await worker.claims("call-1")
        await until(is_noted, "it is noted")
        await finished(jambonz, worker)


async def test_calls_that_are_over_before_redis_hears_of_them_are_bounded(redis_url: str, worker: Worker) -> None:
    """Each caller who hangs up in an outage of minutes leaves one; the newest are handled when Redis is back."""
    dropped = 'jambonz_gateway_session_events_total{event="%s_dropped"}'
    async with gateway(redis_url, max_calls=3) as running:

        async def is_left() -> bool:
            return await running.metric("jambonz_gateway_calls") == 0

        await worker.redis.config_set("maxmemory", 1)
        try:
            for number in range(5):
                async with caller(running.url + "/", f"call-{number}") as jambonz:
                    await jambonz.says("session:new", direction="inbound")
                await until(is_left, "its socket is closed")
            assert [await running.metric(dropped % what) for what in ("call", "event")] == [2, 2]
            assert await running.metric("jambonz_gateway_followed_calls") == 3
            assert await running.metric("jambonz_gateway_held_bytes") > 0
        finally:
            await worker.redis.config_set("maxmemory", 0)
        heard = await worker.takes(DISPATCH, 6)
        kept = ["call-2", "call-3", "call-4"]
        assert sorted(it.call_sid for it in heard if it.kind == "session:new") == kept
        assert sorted(it.call_sid for it in heard if it.kind == "cluster:ended") == kept
        assert await running.metric("jambonz_gateway_held_bytes") == 0
        for sid in kept:
            await worker.claims(sid)
            await worker.ends(sid)
