"""Reads of dispatch grow with its backlog."""

import redis.asyncio

from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import GroupMember, Source, StreamReader
from tests.conditions import until
from tests.integration.redis.conftest import Running

DISPATCH = "jc:dispatch:{ivr}"


async def test_reads_grow_as_long_as_each_gets_all_it_may(
    redis_url: str, link: Link, running: Running, client: redis.asyncio.Redis
) -> None:
    """A backlog is read in few round trips, while a burst that others may share is taken in small bites."""
    sizes: list[int] = []
    for number in range(40):
        await client.xadd(DISPATCH, {"e": str(number)})
    source = Source(DISPATCH, GroupMember("workers", "w1", lambda: 1000), count=4, most=16)
    reader = StreamReader(UrlEndpoint(redis_url), link, source, lambda entries: sizes.append(len(entries)))
    running(reader.run())
    await until(lambda: sum(sizes) == 40, "the backlog is read")
    assert sizes == [4, 8, 16, 12]
    for number in range(6):
        await client.xadd(DISPATCH, {"e": str(number)})
    await until(lambda: sum(sizes) == 46, "what came later is read too")
    assert max(sizes[4:]) <= 4
