"""What ``/readyz`` says of Redis."""

import asyncio
import logging
from typing import Final

from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import Reply

log = logging.getLogger(__name__)

SILENCE_LIMIT_S: Final = 2.0
"""Redis is asked four times a second, a connection given up after 1.5 s (wire.py); silent for longer, it is away."""


class Pulse:
    """What Redis says to heartbeats: out of memory, with a full disk or as a replica it answers, and takes nothing.

    Attributes:
        refusal: Its word for that, such as ``OOM``, ``MISCONF`` or ``READONLY``; empty while it takes them.
    """

    def __init__(self) -> None:
        self.refusal = ""

    def __call__(self, reply: Reply) -> None:
        """Take the reply to a heartbeat."""
        if isinstance(reply, LinkError):
            # The link tells of that itself.
            return
        before, self.refusal = self.refusal, reply.code if isinstance(reply, ResponseError) else ""
        if self.refusal and self.refusal != before:
            log.error("redis refuses what is written to it", extra={"why": self.refusal})
        elif before and not self.refusal:
            log.warning("redis takes what is written to it again", extra={"refused": before})


def redis_problem(link: Link, pulse: Pulse) -> str | None:
    """Return why the process cannot work with Redis now, in a few words; None if Redis answers."""
    silence_s = asyncio.get_running_loop().time() - link.last_reply_at_s
    if not link.is_up and link.refusal:
        return f"Redis refuses this process: {link.refusal}"
    if not link.is_up or silence_s > SILENCE_LIMIT_S:
        return "Redis does not answer"
    return f"Redis refuses what is written to it: {pulse.refusal}" if pulse.refusal else None
