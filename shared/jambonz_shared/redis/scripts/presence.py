"""Processes live, or do not: ``heartbeat``, ``bury``, ``retire``; what waits when none is left: ``trim``. Pure."""

from typing import Any

from jambonz_shared.keys import GROUP
from jambonz_shared.redis.scripts.names import KeysAndArgs, unexpected


def heartbeat_args(registry_key: str, process_id: str) -> KeysAndArgs:
    """Return what ``heartbeat`` needs; ``registry_key`` is ``Keys.workers`` or ``Keys.gateways``."""
    return (registry_key,), (process_id,)


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


def retire_args(dispatch_key: str, consumer: str) -> KeysAndArgs:
    """Return what ``retire`` needs."""
    return (dispatch_key,), (GROUP, consumer)


def trim_args(dispatch_key: str, before_ms: int) -> KeysAndArgs:
    """Return what ``trim`` needs: what is older than Unix time ``before_ms`` goes."""
    return (dispatch_key,), (before_ms,)
