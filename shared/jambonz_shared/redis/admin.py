"""Redis for set-up, tests and command lines: an ordinary client, and whether the server will do."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jambonz_shared.redis.connect import RedisCluster, backend_of
from jambonz_shared.redis.endpoint import CONNECT_LIMIT_S

# 6.2: XADD NOMKSTREAM (events to dead workers), SET with GET and XPENDING from behind an id (adoption).
MINIMUM_VERSION: Final = (6, 2)

# Sentinels are asked one after the other before the primary is.
REACH_LIMIT_S: Final = 5.0

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


def parse_info(raw: bytes) -> dict[str, object]:
    """Return the fields of an ``INFO`` reply; those that are whole numbers as such."""
    fields = (line.partition(":") for line in raw.decode(errors="replace").splitlines() if not line.startswith("#"))
    return {name: int(value) if value.isdecimal() else value for name, colon, value in fields if colon}


# How the words of Redis begin: with a code.
_REFUSED: Final = re.compile(r"[A-Z]{3,} ")


async def why_unreachable(url: str, key: str) -> str:
    """Return why the server of ``key`` answers no command now, for people; empty if it does."""
    try:
        async with asyncio.timeout(REACH_LIMIT_S):
            backend = backend_of(url)
            if isinstance(backend, RedisCluster):
                # A person waits, and a server that is slow to refuse has more to say than none.
                backend.topology.ask_limit_s = CONNECT_LIMIT_S
            connection = await backend.endpoint(key).connect()
            try:
                # A server that wants a login accepts connections without one.
                await connection.send_command("PING")
                await connection.read_response()
            finally:
                await connection.disconnect(nowait=True)
    except TimeoutError:
        return f"no answer within {REACH_LIMIT_S:g} s"
    except (RedisError, OSError, ValueError) as error:
        # A server that has no AUTH, or by another name, repeats what stood behind it: user and password.
        text = str(error).partition(", with args")[0] or type(error).__name__
        # redis-py takes it away.
        code = getattr(error, "status_code", None)
        return f"{code} {text}" if code else text
    return ""


def trouble_of(reason: str) -> str:
    """Return what ``why_unreachable`` has found as a sentence: one that refuses answers."""
    if not reason:
        return "Redis does not answer in time"
    return f"Redis {'refuses' if _REFUSED.match(reason) else 'does not answer'}: {reason}"


def findings_of(info: dict[str, object]) -> list[Finding]:
    """Return what the fields of ``INFO`` say against a server; empty if nothing.

    A managed Redis may leave some out; nothing is said of those.
    """
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
