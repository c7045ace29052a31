"""Whether the cluster can work with this Redis: version, durability, memory, clock, latency, rights."""

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from jambonz_cluster.doctor.findings import Finding, fail, ok, warn
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import findings_of, parse_info
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script

# Each hook takes two round trips at least; at 10 ms a token stream begins to stutter.
_SLOW_MS: Final = 10.0
_ROUND_TRIPS: Final = 20
# Leases are judged by the Redis clock alone; a wrong clock of ours shows in ages and logs only.
_SKEW_S: Final = 1.0
_FULL: Final = 0.8
_PROBE_TTL_MS: Final = 60_000
_SCRIPT: Final = Script.of("doctor", b"return 1")

Command = tuple[str | int, ...]


async def redis_findings(link: Link, keys: Keys) -> list[Finding]:
    """Return what speaks for and against the Redis at the other end of a link that is up.

    Of a Redis Cluster every master is looked at, and the rights at one of them.

    Raises:
        LinkError: If it goes away meanwhile.
    """
    found: list[Finding] = []
    for node in link.nodes:
        try:
            raw: Any = await node.call(b"INFO")
            found += server_findings(parse_info(raw))
        except ResponseError as error:
            cure = "let the user run INFO, or look at the server yourself"
            found.append(warn("redis", f"INFO is refused: {error}", cure))
        found += [await _latency(node), await _clock(node)]
    return [*found, await _rights(link, keys)]


def server_findings(info: dict[str, object]) -> Iterator[Finding]:
    """Judge the fields of INFO."""
    version = info.get("redis_version", "of unknown version")
    known = findings_of(info)
    for finding in known:
        text, _, cure = finding.text.partition(": ")
        yield (fail if finding.is_fatal else warn)("redis", text, cure)
    if not known:
        yield ok("redis", f"version {version}, a primary, append-only file on, nothing is evicted")
    limit, used = info.get("maxmemory"), info.get("used_memory")
    if limit == 0:
        yield warn("redis memory", "no maxmemory is set", "set maxmemory below what the machine has, with noeviction")
    elif isinstance(limit, int) and isinstance(used, int):
        share = used / limit
        text = f"{share:.0%} of maxmemory are used"
        yield ok("redis memory", text) if share < _FULL else warn("redis memory", text, "raise maxmemory")


async def _latency(link: Link) -> Finding:
    times_ms: list[float] = []
    for _ in range(_ROUND_TRIPS):
        started_s = time.perf_counter()
        await link.call(b"TIME")
        times_ms.append((time.perf_counter() - started_s) * 1000)
    text = f"a round trip takes {median(times_ms):.2f} ms (median of {_ROUND_TRIPS})"
    if median(times_ms) < _SLOW_MS:
        return ok("redis latency", text)
    return warn(
        "redis latency", text, "bring Redis nearer, or look for what keeps it busy (redis-cli --latency, SLOWLOG)"
    )


async def _clock(link: Link) -> Finding:
    reply: Any = await link.call(b"TIME")
    skew_s = abs(int(reply[0]) + int(reply[1]) / 1e6 - time.time())
    text = f"this machine's clock and that of Redis are {skew_s:.1f} s apart"
    return ok("clock", text) if skew_s < _SKEW_S else warn("clock", text, "run an NTP client on both machines")


async def _rights(link: Link, keys: Keys) -> Finding:
    """Try every command that the cluster uses on keys of our own, which are deleted at once and expire anyway."""
    probe = f"{keys.prefix}doctor:{{{secrets.token_hex(6)}}}"
    node = link.node_of(probe)
    commands = [*probes(probe), *(CLUSTER_PROBES if node is not link else ())]
    # One flush: even if this process dies meanwhile, Redis gets all of it, the deleting included.
    replies = await asyncio.gather(*(_try(node, command) for command in commands))
    refused = sorted({name_of(command) for command, reply in zip(commands, replies, strict=True) if reply})
    if not refused:
        return ok(
            "redis rights",
            f"all {len({name_of(command) for command in commands})} commands are allowed on {keys.prefix}*",
        )
    names = ", ".join(refused)
    return fail(
        "redis rights", f"not allowed on {keys.prefix}*: {names}", "add them to the user: deploy/redis/start.sh"
    )


async def _try(link: Link, command: Command) -> bool:
    """Run a command; return whether the user may not. Another error is none of rights."""
    try:
        await link.call(*(str(part).encode() for part in command))
    except ResponseError as error:
        return error.code == "NOPERM"
    return False


def name_of(command: Command) -> str:
    """Return how an ACL names a command."""
    has_second_word = command[0] in {"CLIENT", "SCRIPT", "XINFO", "PUBSUB", "CLUSTER"}
    return "|".join(map(str, command[: 2 if has_second_word else 1])).lower()


# What a Redis Cluster needs beside that (redis/cluster).
CLUSTER_PROBES: Final[Sequence[Command]] = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"))


def probes(probe: str) -> Sequence[Command]:
    """Return one harmless use of each command that gateways and workers need, in an order that leaves nothing."""
    text, moved, fields, members, scores, stream = (f"{probe}:{name}" for name in ("t", "m", "h", "s", "z", "x"))
    return (
        ("PING",), ("TIME",), ("INFO", "server"), ("ROLE",), ("CLIENT", "ID"), ("CLIENT", "SETNAME", "doctor"),
        ("CLIENT", "UNBLOCK", 1 << 60), ("CLIENT", "KILL", "ID", 1 << 60), ("SCAN", 0, "MATCH", probe, "COUNT", 1),
        ("SET", text, 1, "PX", _PROBE_TTL_MS), ("GET", text), ("EXISTS", text),
        ("EXPIRE", text, _PROBE_TTL_MS // 1000), ("PTTL", text), ("RENAME", text, moved),
        ("RENAMENX", moved, text), ("DEL", text),
        ("HSET", fields, "n", 1), ("PEXPIRE", fields, _PROBE_TTL_MS), ("HGET", fields, "n"), ("HMGET", fields, "n"),
        ("HGETALL", fields), ("HKEYS", fields), ("HLEN", fields),
        ("HINCRBY", fields, "n", 1), ("HDEL", fields, "n"),
        ("SADD", members, 1), ("PEXPIRE", members, _PROBE_TTL_MS), ("SMEMBERS", members), ("SREM", members, 1),
        ("ZADD", scores, 1, "a"), ("PEXPIRE", scores, _PROBE_TTL_MS), ("ZRANGE", scores, 0, -1),
        ("ZSCORE", scores, "a"), ("ZREM", scores, "a"),
        ("XGROUP", "CREATE", stream, "workers", 0, "MKSTREAM"), ("PEXPIRE", stream, _PROBE_TTL_MS),
        ("XADD", stream, "*", "e", 1), ("XLEN", stream), ("XRANGE", stream, "-", "+"),
        ("XREAD", "COUNT", 1, "STREAMS", stream, 0),
        ("XREADGROUP", "GROUP", "workers", "doctor", "COUNT", 1, "STREAMS", stream, ">"),
        ("XPENDING", stream, "workers"), ("XACK", stream, "workers", "0-1"), ("XDEL", stream, "0-1"),
        ("XTRIM", stream, "MINID", 0),
        ("XINFO", "STREAM", stream), ("PUBLISH", probe, ""), ("PUBSUB", "NUMSUB", probe),
        ("SCRIPT", "LOAD", _SCRIPT.source.decode()), ("EVALSHA", _SCRIPT.sha.decode(), 1, probe),
        ("UNLINK", text, moved, fields, members, scores, stream),
    )  # fmt: skip
