"""heartbeat against real servers (architecture.md section 6)."""

import pytest
import redis.asyncio

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import Heartbeat, heartbeat_args, heartbeat_reply

pytestmark = pytest.mark.both_redis

WORKERS = Keys().workers


async def beat(link: Link, process_id: str, lease_ms: int = 2000) -> Heartbeat:
    return heartbeat_reply(await link.script_call(script.HEARTBEAT, *heartbeat_args(WORKERS, process_id, lease_ms)))


async def test_heartbeat_is_kept_in_ms_of_the_redis_clock(link: Link, client: redis.asyncio.Redis) -> None:
    """The clocks of processes may differ; that of Redis is one."""
    seconds, micros = await client.time()
    said = await beat(link, "w1")
    assert said.expired == ()
    assert 0 <= said.now_ms - (seconds * 1000 + micros // 1000) < 10_000
    assert await client.zscore(WORKERS, "w1") == said.now_ms


async def test_those_silent_for_a_lease_are_told_and_stay(link: Link, client: redis.asyncio.Redis) -> None:
    """Whoever adopts their calls removes them, so that no death is missed."""
    now_ms = (await beat(link, "w1")).now_ms
    await client.zadd(WORKERS, {"dead1": now_ms - 90_000, "dead2": now_ms - 80_000, "slow": now_ms - 30_000})
    assert (await beat(link, "w1", lease_ms=60_000)).expired == ("dead1", "dead2")
    assert (await beat(link, "w2", lease_ms=60_000)).expired == ("dead1", "dead2")


async def test_process_that_speaks_is_not_told_of_itself(link: Link, client: redis.asyncio.Redis) -> None:
    """After a long stall the first thing said is that one lives."""
    await client.zadd(WORKERS, {"w1": 1})
    assert (await beat(link, "w1")).expired == ()
