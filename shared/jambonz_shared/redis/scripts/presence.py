"""Processes say that they live, and are struck off when they do not: ``heartbeat``, ``bury``, ``retire``. Pure."""

from dataclasses import dataclass
from typing import Any

from jambonz_shared.redis.scripts.names import KeysAndArgs, unexpected


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Who has not shown life for a lease, at ``now_ms`` of the Redis clock."""

    now_ms: int
    expired: tuple[str, ...]


def heartbeat_args(registry_key: str, process_id: str, lease_ms: int) -> KeysAndArgs:
    """Return what ``heartbeat`` needs; ``registry_key`` is ``Keys.workers`` or ``Keys.gateways``."""
    return (registry_key,), (process_id, lease_ms)


def heartbeat_reply(reply: Any) -> Heartbeat:
    """Read the reply of ``heartbeat``."""
    match reply:
        case [int(now_ms), *expired]:
            return Heartbeat(now_ms, tuple(process_id.decode() for process_id in expired))
        case _:
            raise unexpected("heartbeat", reply)


def bury_args(registry_key: str, process_id: str, lease_ms: int) -> KeysAndArgs:
    """Return what ``bury`` needs; ``registry_key`` is ``Keys.workers`` or ``Keys.gateways``."""
    return (registry_key,), (process_id, lease_ms)


def bury_reply(reply: Any) -> bool:
    """Read the reply of ``bury``: whether the process is off the registry."""
    match reply:
        case 0 | 1:
            return bool(reply)
        case _:
            raise unexpected("bury", reply)


def retire_args(dispatch_key: str, group: str, consumer: str) -> KeysAndArgs:
    """Return what ``retire`` needs."""
    return (dispatch_key,), (group, consumer)


def retire_reply(reply: Any) -> bool:
    """Read the reply of ``retire``: whether the group has no such consumer any more."""
    match reply:
        case 0 | 1:
            return bool(reply)
        case _:
            raise unexpected("retire", reply)
