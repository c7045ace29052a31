"""A worker owns a Call: ``claim``, ``end``, ``orphan``. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jambonz_shared.redis.scripts.names import GONE, CallKeys, Fenced, Gone, KeysAndArgs, OtherApp, unexpected


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A Call as Redis knows it; absent texts are empty, absent numbers 0.

    Attributes:
        epoch: Newest epoch.
        is_acked: Whether its ``session:new`` was acked.
        committed: Highest committed n by epoch.
        live: Gateway and line of each live Connection by epoch.
        facts: JSON object, what workers keep of ``session:new``; empty before the first.
        status: Last ``call_status``.
        state: JSON by name of the Call state's fields.
    """

    app: str = ""
    path: str = ""
    gateway: str = ""
    epoch: int = 0
    owner: str = ""
    fence: int = 0
    seq: int = 0
    is_acked: bool = False
    facts: bytes = b""
    status: str = ""
    committed: Mapping[int, int] = field(default_factory=dict)
    live: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    state: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The worker owns the Call from now on, with this fence."""

    fence: int
    record: CallRecord


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """Another worker owns the Call."""

    owner: str


def claim_args(call: CallKeys, worker_id: str, app: str, *, is_young: bool = False) -> KeysAndArgs:
    """Return what ``claim`` needs; ``is_young`` as ``Link.is_young``."""
    return (call.call, call.chan), (worker_id, int(is_young), app)


def claim_reply(reply: object) -> Claimed | OwnedBy | OtherApp | Gone:
    """Read the reply of ``claim``."""
    match reply:
        case [b"ok", int(fence), *fields]:
            return Claimed(fence, call_record(fields))
        case [b"owned", bytes(owner)]:
            return OwnedBy(owner.decode())
        case [b"app", bytes(app)]:
            return OtherApp(app.decode())
        case [b"gone"]:
            return GONE
        case _:
            raise unexpected("claim", reply)


def call_record(fields: Sequence[Any]) -> CallRecord:
    """Read ``HGETALL`` of a Call: names and values in turn. Batches that wait for their delivery are passed over."""
    plain: dict[bytes, bytes] = {}
    committed: dict[int, int] = {}
    live: dict[int, tuple[str, str]] = {}
    state: dict[str, bytes] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        match name[:2]:
            case b"s:":
                state[name[2:].decode()] = value
            case b"d:":
                committed[int(name[2:])] = int(value)
            case b"c:":
                gateway, _, line = value.decode().rpartition("\x1f")
                live[int(name[2:])] = (gateway, line)
            case b"b:":
                pass
            case _:
                plain[name] = value

    def text(name: bytes) -> str:
        return plain.get(name, b"").decode()

    def number(name: bytes) -> int:
        return int(plain.get(name, b"0"))

    return CallRecord(
        app=text(b"app"),
        path=text(b"path"),
        gateway=text(b"gateway"),
        epoch=number(b"epoch"),
        owner=text(b"owner"),
        fence=number(b"fence"),
        seq=number(b"seq"),
        is_acked=number(b"acked") == 1,
        facts=plain.get(b"facts", b""),
        status=text(b"status"),
        committed=committed,
        live=live,
        state=state,
    )


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a worker shows with each commit; made once per claim.

    Attributes:
        ttl_ms: Time to live of the Call while it has a Connection.
    """

    call: CallKeys
    worker_id: str
    fence: int
    ttl_ms: int
    keys: tuple[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", (self.call.call, self.call.chan))


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of the Call is left in Redis."""


@dataclass(frozen=True, slots=True)
class StillLive:
    """A Connection is left, so the Call was not ended."""


ENDED: Final = Ended()
STILL_LIVE: Final = StillLive()


def end_args(ownership: Ownership) -> KeysAndArgs:
    """Return what ``end`` needs."""
    return ownership.keys, (ownership.worker_id, ownership.fence)


def end_reply(reply: object) -> Ended | StillLive | Fenced | Gone:
    """Read the reply of ``end``."""
    match reply:
        case [b"ok"]:
            return ENDED
        case [b"live"]:
            return STILL_LIVE
        case [b"fenced", bytes(owner)]:
            return Fenced(owner.decode())
        case [b"gone"]:
            return GONE
        case _:
            raise unexpected("end", reply)


@dataclass(frozen=True, slots=True)
class Orphaned:
    """Nobody owns the Call now, and its old owner can no longer commit."""


ORPHANED: Final = Orphaned()


def orphan_args(call: CallKeys, worker_id: str) -> KeysAndArgs:
    """Return what ``orphan`` needs; the Call is taken from ``worker_id`` only."""
    return (call.call, call.chan), (worker_id,)


def orphan_reply(reply: object) -> Orphaned | OwnedBy | Gone:
    """Read the reply of ``orphan``; ``OwnedBy("")`` if nobody owned it before."""
    match reply:
        case [b"ok"]:
            return ORPHANED
        case [b"other", bytes(owner)]:
            return OwnedBy(owner.decode())
        case [b"gone"]:
            return GONE
        case _:
            raise unexpected("orphan", reply)
