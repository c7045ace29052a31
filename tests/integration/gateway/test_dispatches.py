"""What no worker takes stays in dispatch as long as somebody could use it, and no longer (P8)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from jambonz_gateway.dispatches import Dispatches
from jambonz_shared.keys import GROUP
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from tests.conditions import until
from tests.integration.gateway.gateways import DISPATCH, KEYS, Worker, gateway
from tests.integration.gateway.test_http import publish_manifest

HOUR_MS: Final = 3_600_000
NOW_MS: Final = 1000 * HOUR_MS


@pytest.fixture
async def link(redis_url: str, worker: Worker) -> AsyncIterator[Link]:
    link = Link(UrlEndpoint(redis_url))
    running = asyncio.create_task(link.run())
    await link.wait_up()
    yield link
    running.cancel()
    await worker.redis.delete(DISPATCH)


async def at(redis: Redis, *ages_h: float) -> None:
    """Write entries of so many hours."""
    for age_h in ages_h:
        await redis.xadd(DISPATCH, {"e": b"x"}, id=f"{NOW_MS - int(age_h * HOUR_MS)}-0")


async def ages_h(redis: Redis) -> list[float]:
    found: Any = await redis.xrange(DISPATCH)
    return [(NOW_MS - int(entry.partition(b"-")[0])) / HOUR_MS for entry, _ in found]


async def unread(redis: Redis, count: int | None = None) -> list[Any]:
    """Read what the group has not read yet."""
    found: Any = await redis.xreadgroup(GROUP, "w1", {DISPATCH: ">"}, count=count)
    return list(found[0][1])


async def test_what_no_worker_has_taken_is_as_old_as_a_call_at_most(link: Link, worker: Worker) -> None:
    """To the last one: they are few, and hold numbers of callers."""
    await at(worker.redis, 30, 5, 4.5, 3.5, 0)
    await Dispatches(link, KEYS, call_ttl_s=4 * 3600).trim(["default", "nobody"], NOW_MS)
    assert await ages_h(worker.redis) == [3.5, 0]
    assert not await worker.redis.exists(KEYS.dispatch("nobody"))


async def test_what_a_worker_has_begun_stays_while_it_can_be_adopted(link: Link, worker: Worker) -> None:
    """A handler may take as long as a call, and die then; a day later nobody knows its worker any more."""
    await at(worker.redis, 30, 20, 10)
    await worker.redis.xgroup_create(DISPATCH, GROUP, id="0")
    trimmed = Dispatches(link, KEYS, call_ttl_s=4 * 3600)
    await worker.redis.xreadgroup(GROUP, "w1", {DISPATCH: ">"}, count=2)
    await trimmed.trim(["default"], NOW_MS)
    assert await ages_h(worker.redis) == [20, 10], "the oldest is too old for anybody"
    await trimmed.trim(["default"], NOW_MS + 5 * HOUR_MS)
    assert await ages_h(worker.redis) == [10]
    await worker.redis.delete(DISPATCH)
    await at(worker.redis, 20, 10)
    await worker.redis.xgroup_create(DISPATCH, GROUP, id="0")
    await worker.redis.xreadgroup(GROUP, "w1", {DISPATCH: ">"}, count=1)
    await trimmed.trim(["default"], NOW_MS)
    assert await ages_h(worker.redis) == [20, 10]


async def test_user_who_may_not_trim_is_told_once(link: Link, worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis whose rights are older than this version."""
    await worker.redis.set(DISPATCH, "no stream: as good a refusal")
    dispatches = Dispatches(link, KEYS, call_ttl_s=4 * 3600)
    for _ in range(2):
        await dispatches.trim(["default"], NOW_MS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_redis_that_is_away_is_asked_the_next_time(redis_url: str) -> None:
    """A minute later."""
    await Dispatches(Link(UrlEndpoint(redis_url)), KEYS, call_ttl_s=4 * 3600).trim(["default"], NOW_MS)


async def test_gateway_trims_the_dispatch_of_each_app_at_its_start(redis_url: str, worker: Worker) -> None:
    """And each minute."""
    await publish_manifest(worker.redis)
    await worker.redis.xadd(DISPATCH, {"e": b"x"}, id="1-0")

    async def is_empty() -> bool:
        return await worker.redis.xlen(DISPATCH) == 0

    async with gateway(redis_url):
        await until(is_empty, "the old entry has gone")


async def test_group_counts_what_is_left_as_unread_and_no_more(link: Link, worker: Worker) -> None:
    """KEDA scales workers by that; Redis 7 counts what was trimmed unread for ever."""
    await at(worker.redis, 9, 8, 7, 6, 2, 1)
    await worker.redis.xgroup_create(DISPATCH, GROUP, id="0")
    taken = await unread(worker.redis, count=1)
    for entry, _ in taken:
        await worker.redis.xack(DISPATCH, GROUP, entry)
        await worker.redis.xdel(DISPATCH, entry)
    await Dispatches(link, KEYS, call_ttl_s=4 * 3600).trim(["default"], NOW_MS)
    (group,) = await worker.redis.xinfo_groups(DISPATCH)
    assert group.get("lag", 2) == 2
    read = await unread(worker.redis)
    assert len(read) == 2, "both are read"


async def test_entry_of_the_very_millisecond_that_stays_is_read(link: Link, worker: Worker) -> None:
    """Moving the group must not pass it over."""
    await at(worker.redis, 5, 4)
    await worker.redis.xgroup_create(DISPATCH, GROUP, id="0")
    await Dispatches(link, KEYS, call_ttl_s=4 * 3600).trim(["default"], NOW_MS)
    read = await unread(worker.redis)
    assert len(read) == 1


async def test_event_of_a_live_call_waits_for_workers_that_come_back(link: Link, worker: Worker) -> None:
    """However short the life of calls in Redis is: the caller may hear a long fallback meanwhile."""
    await at(worker.redis, 1.5, 0.5)
    await Dispatches(link, KEYS, call_ttl_s=60).trim(["default"], NOW_MS)
    assert await ages_h(worker.redis) == [0.5]
