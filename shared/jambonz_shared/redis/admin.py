"""Redis for set-up, tests and command lines: an ordinary client, and whether the server will do."""

import re
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S

# 6.2: XADD NOMKSTREAM (events to dead workers), XAUTOCLAIM (pending ones of dead workers).
MINIMUM_VERSION: Final = (6, 2)

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a Redis server that an operator should know.

    Attributes:
        is_fatal: The cluster cannot work with it; otherwise it works, with the risk that the text tells.
    """

    is_fatal: bool
    text: str


def connect(url: str) -> Redis:
    """Return a client; it connects at its first command. Close it with ``aclose``.

    Raises:
        ValueError: If the URL is no ``redis://``, ``rediss://`` or ``unix://`` URL.
    """
    return Redis.from_url(
        url, protocol=2, decode_responses=False, socket_connect_timeout=CONNECT_LIMIT_S, socket_timeout=5.0
    )


async def server_findings(client: Redis) -> list[Finding]:
    """Return what speaks against this server; empty if nothing does.

    Raises:
        redis.RedisError: If it does not answer.
    """
    info = await client.info("everything")
    return findings_of(info)


def findings_of(info: dict[str, object]) -> list[Finding]:
    """Judge the fields of ``INFO``. A managed Redis may leave some out; nothing is said of those."""
    findings: list[Finding] = []
    version = str(info.get("redis_version", ""))
    if _version_of(version) < MINIMUM_VERSION:
        findings.append(Finding(is_fatal=True, text=f"Redis {version or 'of unknown version'}: 6.2 or newer is needed"))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and info.get("maxmemory") != 0:
        findings.append(
            Finding(is_fatal=False, text=f"maxmemory-policy is {policy!r}: set noeviction, or live calls are forgotten")
        )
    if info.get("aof_enabled") == 0:
        findings.append(
            Finding(is_fatal=False, text="appendonly is off: a restart of Redis forgets commits; set appendonly yes")
        )
    if info.get("role", "master") != "master":
        findings.append(Finding(is_fatal=True, text="this server is a replica: the URL has to name the primary"))
    return findings


def _version_of(text: str) -> tuple[int, int]:
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
