"""bury and retire against real servers (architecture.md section 6)."""

import pytest
import redis.asyncio

from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import bury_args, bury_reply, retire_args

pytestmark = pytest.mark.both_redis

KEYS = Keys()
LEASE_MS = 2000


async def bury(link: Link, process_id: str) -> bool:
    return bury_reply(await link.script_call(script.BURY, *bury_args(KEYS.workers, process_id, LEASE_MS)))


async def retire(link: Link, consumer: str) -> bool:
    return await link.script_call(script.RETIRE, *retire_args(KEYS.dispatch("ivr"), consumer)) == 1


async def test_only_who_was_silent_for_a_lease_is_struck_off(link: Link, client: redis.asyncio.Redis) -> None:
    """A worker whose subscription was cut beats all the same, and must stay watched."""
    seconds, _ = await client.time()
    await client.zadd(KEYS.workers, {"lives": seconds * 1000, "hangs": seconds * 1000 - LEASE_MS - 1000})
    assert [await bury(link, one) for one in ("lives", "hangs", "never_was")] == [False, True, True]
    assert await client.zrange(KEYS.workers, 0, -1) == [b"lives"]


async def test_consumer_with_pending_entries_stays(link: Link, client: redis.asyncio.Redis) -> None:
    """Deleting it would lose them: they are pending for nobody then, and new for nobody."""
    dispatch = KEYS.dispatch("ivr")
    assert await retire(link, "w1"), "there is no group at all"
    await client.xgroup_create(dispatch, GROUP, id="0", mkstream=True)
    entry = await client.xadd(dispatch, {"e": "x"})
    await client.xreadgroup(GROUP, "w1", {dispatch: ">"})
    assert not await retire(link, "w1")
    assert (await client.xpending(dispatch, GROUP))["pending"] == 1
    await client.xack(dispatch, GROUP, entry)
    assert await retire(link, "w1")
    assert await client.xinfo_consumers(dispatch, GROUP) == []
