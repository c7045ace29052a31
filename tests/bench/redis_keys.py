"""What calls leave in Redis while they live: keys and their memory, by family."""

import contextlib
import re
from collections import Counter
from typing import Final

from jambonz_shared.redis.admin import connect

# A call's keys end in its call_sid, a process's in its id: what stands before is the family.
_FAMILY: Final = re.compile(r"^[^:]+:[^:]+")
_AT_A_TIME: Final = 1000


async def key_costs(redis_url: str) -> dict[str, float]:
    """Return ``redis_keys.FAMILY``, how many there are, and ``redis_key_bytes.FAMILY``, by ``MEMORY USAGE``."""
    count: Counter[str] = Counter()
    size_bytes: Counter[str] = Counter()
    async with contextlib.aclosing(connect(redis_url)) as client:
        keys = [key async for key in client.scan_iter(count=_AT_A_TIME)]
        for start in range(0, len(keys), _AT_A_TIME):
            some = keys[start : start + _AT_A_TIME]
            pipeline = client.pipeline(transaction=False)
            for key in some:
                pipeline.execute_command("MEMORY USAGE", key, "SAMPLES", 0)
            for key, used in zip(some, await pipeline.execute(), strict=True):
                family = family_of(key.decode() if isinstance(key, bytes) else key)
                count[family] += 1
                size_bytes[family] += used or 0
    return {
        **{f"redis_keys.{family}": float(number) for family, number in count.items()},
        **{f"redis_key_bytes.{family}": float(used) for family, used in size_bytes.items()},
    }


def family_of(key: str) -> str:
    """Return what a key is of: ``jc:call:{sid}`` is ``jc:call``."""
    match = _FAMILY.match(key)
    return match[0] if match else key
