"""Which processes have said lately that they live: the registries ``Keys.workers`` and ``Keys.gateways``."""

import asyncio
from typing import Any

from jambonz_shared.redis.link import Link


async def heartbeats(link: Link, registry_key: str) -> tuple[int, dict[str, int]]:
    """Return what time it is on the clock the heartbeats were taken by, and the last one of each process; both in ms.

    Raises:
        LinkError: If Redis is away.
        ResponseError: If it refuses.
    """
    clock: Any
    beats: Any
    clock, beats = await asyncio.gather(
        link.node_of(registry_key).call(b"TIME"), link.call(b"ZRANGE", registry_key, 0, -1, b"WITHSCORES")
    )
    now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
    return now_ms, {
        process_id.decode(): int(float(beat_ms)) for process_id, beat_ms in zip(beats[::2], beats[1::2], strict=True)
    }
