"""Connections come to a Call and leave it: ``attach``, ``detach``, ``acked``. Pure."""

from dataclasses import dataclass

from jambonz_shared.redis.scripts.batches import batch_field
from jambonz_shared.redis.scripts.names import GONE, CallKeys, Gone, KeysAndArgs, OtherApp, unexpected


@dataclass(init=False, slots=True)
class Attach:
    """A Connection that attaches to a Call.

    Attributes:
        app: App of the Connection; of one that was attached before, that of the Call as far as it is known.
        line: ``"main"``, ``"side"``, ``"leg"`` or ``"left"``.
        ttl_ms: Time to live of the Call while it has a Connection.
        is_reconnect: The Connection replaces those of the same line, which are forgotten.
        epoch_known: 0 for a new Connection; its epoch if it was attached before (Redis lost its data, or the Call
            was detached and comes back).
        seq_known: Highest seq this gateway has seen of the Call, 0 if none.
        owner_known: Owner this gateway knows of; like the next two only used if Redis has lost the Call.
        fence_known: The owner's fence, so that it may go on.
        is_acked_known: The Call's ``session:new`` has been acked.
    """

    gateway_id: str
    app: str
    path: str
    line: str
    ttl_ms: int
    is_reconnect: bool = False
    epoch_known: int = 0
    seq_known: int = 0
    owner_known: str = ""
    fence_known: int = 0
    is_acked_known: bool = False

    def __init__(  # noqa: PLR0913, PLR0917 as its fields
        self,
        gateway_id: str,
        app: str,
        path: str,
        line: str,
        ttl_ms: int,
        is_reconnect: bool = False,
        epoch_known: int = 0,
        seq_known: int = 0,
        owner_known: str = "",
        fence_known: int = 0,
        is_acked_known: bool = False,
    ) -> None:
        self.gateway_id = gateway_id
        self.app = app
        self.path = path
        self.line = line
        self.ttl_ms = ttl_ms
        self.is_reconnect = is_reconnect
        self.epoch_known = epoch_known
        self.seq_known = seq_known
        self.owner_known = owner_known
        self.fence_known = fence_known
        self.is_acked_known = is_acked_known


@dataclass(init=False, slots=True)
class Attached:
    """The Connection belongs to the Call.

    Attributes:
        epoch: Number of this Connection among those of the Call.
        owner: Worker that owns the Call; empty if nobody does.
        fence: Fence of the last claim; 0 before the first, and after Redis has lost its data.
        seq: Highest seq of the Call.
        is_acked: Its ``session:new`` has been acked, here or on an earlier Connection.
        existed: The Call was known before, so its log may hold batches.
        live_epochs: Epochs of all Connections of the Call, this one among them, rising.
        app: App of the Call, which may have been taken from that of this Connection.
        is_passed_over: jambonz takes commands on another line (PROTOCOL.md 2.5).
        former_owner: Worker that owned the Call until this Connection took it to its own app; else empty.
    """

    epoch: int
    owner: str = ""
    fence: int = 0
    seq: int = 0
    is_acked: bool = False
    existed: bool = False
    live_epochs: tuple[int, ...] = ()
    app: str = ""
    is_passed_over: bool = False
    former_owner: str = ""

    def __init__(  # noqa: PLR0913, PLR0917 as its fields
        self,
        epoch: int,
        owner: str = "",
        fence: int = 0,
        seq: int = 0,
        is_acked: bool = False,
        existed: bool = False,
        live_epochs: tuple[int, ...] = (),
        app: str = "",
        is_passed_over: bool = False,
        former_owner: str = "",
    ) -> None:
        self.epoch = epoch
        self.owner = owner
        self.fence = fence
        self.seq = seq
        self.is_acked = is_acked
        self.existed = existed
        self.live_epochs = live_epochs
        self.app = app
        self.is_passed_over = is_passed_over
        self.former_owner = former_owner


def attach_args(call: CallKeys, attach: Attach) -> KeysAndArgs:
    """Return what ``attach`` needs."""
    return (call.call, call.chan), (
        attach.gateway_id,
        attach.app,
        attach.path,
        attach.line,
        attach.ttl_ms,
        int(attach.is_reconnect),
        attach.epoch_known,
        attach.seq_known,
        attach.owner_known,
        attach.fence_known,
        int(attach.is_acked_known),
    )


def attach_reply(reply: object) -> Attached | OtherApp:
    """Read the reply of ``attach``."""
    match reply:
        case [
            b"ok", int(epoch), bytes(owner), int(fence), int(seq), int(acked), int(existed), bytes(live),
            bytes(app), int(is_passed_over), bytes(former_owner),
        ]:  # fmt: skip
            return Attached(
                epoch,
                owner.decode(),
                fence,
                seq,
                acked == 1,
                existed == 1,
                tuple(int(text) for text in live.split(b",")),
                app.decode(),
                is_passed_over == 1,
                former_owner.decode(),
            )
        case [b"app", bytes(app)]:
            return OtherApp(app.decode())
        case _:
            raise unexpected("attach", reply)


def detach_args(call: CallKeys, epoch: int, grace_ms: int) -> KeysAndArgs:
    """Return what ``detach`` needs."""
    return (call.call, call.chan), (epoch, grace_ms)


def detach_reply(reply: object) -> int | Gone:
    """Read the reply of ``detach``: the number of Connections left."""
    match reply:
        case -1:
            return GONE
        case int(left):
            return left
        case _:
            raise unexpected("detach", reply)


def acked_args(call: CallKeys, seq: int = 0, left: bytes = b"") -> KeysAndArgs:
    """Return what ``acked`` needs; ``left`` takes the place of batch ``seq``, if that is still in the call log."""
    return (call.call,), (batch_field(seq), left)
