"""Batches of Directives: a Call's owner does ``commit``, anybody ``send``, its gateway reads ``undelivered``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jambonz_shared.redis.scripts.names import GONE, Argument, CallKeys, Fenced, Gone, KeysAndArgs, unexpected
from jambonz_shared.redis.scripts.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit changes beside its batch.

    Attributes:
        facts: JSON object that replaces the facts; empty changes nothing.
        status: Replaces the last status; empty changes nothing.
        state: JSON by name of state fields; empty deletes the field.
    """

    facts: bytes = b""
    status: str = ""
    state: Mapping[str, bytes] = field(default_factory=dict)


NO_CHANGES: Final = Changes()


@dataclass(init=False, slots=True)
class Committed:
    """The effects are in Redis; ``seq`` is that of the batch, or the last one's if there was none."""

    seq: int

    def __init__(self, seq: int) -> None:
        self.seq = seq


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The event was committed before; nothing was done."""

    seq: int


@dataclass(frozen=True, slots=True)
class Full:
    """So many batches wait for their delivery that no further one was taken."""

    waiting: int


# A batch waits for milliseconds, unless the websocket is gone; then whoever sends in a loop would fill Redis until the
# grace time (60 s) is over. Tokens of a speech come at some 50 a second, and jambonz is back within seconds.
_LIMIT: Final = 1000

# Arguments of a commit before the fields that change.
_HEAD: Final = 7


EARLY: Final = [b"early"]
"""Reply to a commit whose predecessor Redis has refused: repeat it behind that one, do not read it."""


def commit_args(
    ownership: Ownership,
    event: tuple[int, int],
    batch: bytes,
    changes: Changes = NO_CHANGES,
    *,
    previous: int = 0,
    renews: bool = True,
) -> KeysAndArgs:
    """Return what ``commit`` needs; an empty batch is no Directive.

    Args:
        event: Epoch and n; n 0 is no event.
        previous: The n of this epoch that was sent before this one, 0 if none; see ``EARLY``.
        renews: Renew the time to live of the Call, when a good part of it may be over.
    """
    epoch, n = event
    head = (
        ownership.worker_id,
        ownership.fence,
        epoch,
        n,
        ownership.ttl_ms if renews else 0,
        batch,
        previous,
    )
    if changes is NO_CHANGES:
        return ownership.keys, head
    fields: list[Argument] = []
    if changes.facts:
        fields += ("facts", changes.facts)
    if changes.status:
        fields += ("status", changes.status)
    for name, json in changes.state.items():
        fields += (f"s:{name}", json)
    return ownership.keys, (*head, *fields)


def bounded(commit: KeysAndArgs) -> KeysAndArgs:
    """Return what ``commit`` needs to save all but its batch while too many wait; see ``Full``."""
    keys, args = commit
    return keys, (*args[:_HEAD], "", _LIMIT, *args[_HEAD:])


def behind(commit: KeysAndArgs, event: tuple[int, int]) -> KeysAndArgs:
    """Return what ``commit`` needs to wait for another one, by its epoch and n; see ``EARLY``. Call it last."""
    keys, args = commit
    epoch, n = event
    return keys, (*args[:_HEAD], f"d:{epoch}", n, *args[_HEAD:])


def commit_reply(reply: object) -> Committed | Duplicate | Fenced | Full | Gone:
    """Read the reply of ``commit``."""
    # The common case by itself: a match costs a microsecond more, and this runs for every event.
    if isinstance(reply, int):
        return Committed(reply)
    match reply:
        case [b"dup", int(seq)]:
            return Duplicate(seq)
        case [b"fenced", bytes(owner)]:
            return Fenced(owner.decode())
        case [b"full", int(waiting)]:
            return Full(waiting)
        case [b"gone"]:
            return GONE
        case _:
            raise unexpected("commit", reply)


@dataclass(frozen=True, slots=True)
class Queued:
    """The batch is written down; ``gateway`` holds the newest Connection."""

    seq: int
    gateway: str


def send_args(call: CallKeys, ttl_ms: int, batch: bytes, *, is_young: bool = False) -> KeysAndArgs:
    """Return what ``send`` needs; ``is_young`` as ``Link.is_young``."""
    return (call.call, call.chan), (ttl_ms, batch, int(is_young), _LIMIT)


def send_reply(reply: object) -> Queued | Full | Gone:
    """Read the reply of ``send``."""
    match reply:
        case [b"ok", int(seq), bytes(gateway)]:
            return Queued(seq, gateway.decode())
        case [b"full", int(waiting)]:
            return Full(waiting)
        case [b"gone"]:
            return GONE
        case _:
            raise unexpected("send", reply)


def undelivered_args(call: CallKeys, after_seq: int) -> KeysAndArgs:
    """Return what ``undelivered`` needs: batches above ``after_seq`` are wanted."""
    return (call.call,), (after_seq,)


def undelivered_reply(reply: object) -> list[tuple[int, bytes]]:
    """Read the reply of ``undelivered``: seq and batch, in the order of their numbers."""
    if not isinstance(reply, list) or len(reply) % 2 or not all(isinstance(seq, int) for seq in reply[::2]):
        raise unexpected("undelivered", reply)
    return list(zip(reply[::2], reply[1::2], strict=True))


def batch_field(seq: int) -> str:
    """Return the field of a Call's hash that holds a batch until it is delivered."""
    return f"b:{seq}"
