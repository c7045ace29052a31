"""What ``/readyz`` says of Redis."""

import asyncio
from typing import Final

from jambonz_shared.redis.link import Link

SILENCE_LIMIT_S: Final = 2.0
"""Redis is asked four times a second, a connection given up after 1.5 s (wire.py); silent for longer, it is away."""


def redis_problem(link: Link) -> str | None:
    """Return why the process cannot work with Redis now, in a few words; None if Redis answers."""
    silence_s = asyncio.get_running_loop().time() - link.last_reply_at_s
    return None if link.is_up and silence_s <= SILENCE_LIMIT_S else "Redis does not answer"
