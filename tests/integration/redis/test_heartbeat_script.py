"""heartbeat against real servers (architecture.md section 6)."""

import pytest
import redis.asyncio

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import heartbeat_args

pytestmark = pytest.mark.both_redis

WORKERS = Keys().workers


async def beat(link: Link, process_id: str) -> None:
    await link.script_call(script.HEARTBEAT, *heartbeat_args(WORKERS, process_id))


async def test_heartbeat_is_kept_in_ms_of_the_redis_clock(link: Link, client: redis.asyncio.Redis) -> None:
    """The clocks of processes may differ; that of Redis is one."""
    await client.zadd(WORKERS, {"w1": 1})
    seconds, micros = await client.time()
    await beat(link, "w1")
    beat_ms = await client.zscore(WORKERS, "w1")
    assert beat_ms is not None
    assert 0 <= beat_ms - (seconds * 1000 + micros // 1000) < 10_000


async def test_those_who_are_silent_stay(link: Link, client: redis.asyncio.Redis) -> None:
    """Whoever adopts their calls removes them, so that no death is missed."""
    await client.zadd(WORKERS, {"dead": 1})
    await beat(link, "w1")
    assert await client.zrange(WORKERS, 0, -1) == [b"dead", b"w1"]
