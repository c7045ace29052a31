"""After a death or a loss of data: ``abandon`` and ``restore``. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jambonz_shared.redis.scripts.names import GONE, CallKeys, Fenced, Gone, KeysAndArgs, unexpected
from jambonz_shared.redis.scripts.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A gateway's Connections have left the Call.

    Attributes:
        left: Connections that the Call still has.
        owner: Worker that owns the Call, or empty.
        app: App of the Call.
    """

    left: int
    owner: str
    app: str


def abandon_args(call: CallKeys, gateway_id: str, grace_ms: int, staying: Iterable[int] = ()) -> KeysAndArgs:
    """Return what ``abandon`` needs; ``staying`` are epochs of Connections that the gateway does hold."""
    return (call.call, call.chan), (gateway_id, grace_ms, *staying)


def abandon_reply(reply: Any) -> Abandoned | Gone:
    """Read the reply of ``abandon``."""
    match reply:
        case [-1]:
            return GONE
        case [int(left), bytes(owner), bytes(app)]:
            return Abandoned(left, owner.decode(), app.decode())
        case _:
            raise unexpected("abandon", reply)


@dataclass(frozen=True, slots=True)
class Memory:
    """What an owner remembers of a Call.

    Attributes:
        app: App of the Call.
        facts: JSON object, or empty.
        status: Last call status, or empty.
        committed: Highest committed n by epoch.
        state: JSON by name of the Call state's fields, all of them: what is not named is deleted.
    """

    app: str
    facts: bytes = b""
    status: str = ""
    committed: Mapping[int, int] = field(default_factory=dict)
    state: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """Redis knows all of it again; ``live`` Connections are attached now."""

    live: int


def restore_args(ownership: Ownership, memory: Memory, grace_ms: int) -> KeysAndArgs:
    """Return what ``restore`` needs."""
    marks = [number for pair in memory.committed.items() for number in pair]
    state = [part for pair in memory.state.items() for part in pair]
    return ownership.keys, (
        ownership.worker_id,
        ownership.fence,
        memory.app,
        grace_ms,
        memory.facts,
        memory.status,
        len(memory.committed),
        *marks,
        *state,
    )


def restore_reply(reply: Any) -> Restored | Fenced:
    """Read the reply of ``restore``."""
    match reply:
        case [b"ok", int(live)]:
            return Restored(live)
        case [b"fenced", bytes(owner)]:
            return Fenced(owner.decode())
        case _:
            raise unexpected("restore", reply)
