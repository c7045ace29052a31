"""What a Session wants done: the only way it touches the world. Pure."""

from dataclasses import dataclass, field

from jambonz_shared.envelope import Envelope
from jambonz_shared.outcome import Outcome


@dataclass(init=False, slots=True)
class Send:
    """Write one text message to the websocket."""

    frame: bytes

    def __init__(self, frame: bytes) -> None:
        self.frame = frame


@dataclass(frozen=True, slots=True)
class Ping:
    """Write a ping to the websocket; answer its pong with ``Session.pong``.

    Attributes:
        number: Its payload, which the pong repeats (RFC 6455 5.5.3). Above 0, and higher than those before.
    """

    number: int


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the websocket with ``code``; ``reason`` is for our log and the close frame."""

    code: int
    reason: str


@dataclass(init=False, slots=True)
class Attach:
    """Subscribe to the Call's channel and attach to it; answer with ``Session.attached``.

    Attributes:
        call_sid: The Call.
        line: ``main``, ``side`` or ``leg`` (architecture.md section 1).
        is_reconnect: Earlier Connections of the same line are dead for certain.
    """

    call_sid: str
    line: str
    is_reconnect: bool

    def __init__(self, call_sid: str, line: str, is_reconnect: bool) -> None:
        self.call_sid = call_sid
        self.line = line
        self.is_reconnect = is_reconnect


@dataclass(init=False, slots=True)
class Publish:
    """Append to the inbox of ``worker_id``, or to ``dispatch`` when it is empty.

    If the inbox does not exist any more, answer with ``Session.returned``.
    """

    worker_id: str
    envelope: Envelope

    def __init__(self, worker_id: str, envelope: Envelope) -> None:
        self.worker_id = worker_id
        self.envelope = envelope


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read the call log after ``after_seq``; answer with ``Session.log_read`` and this very object.

    ``covers`` is the newest batch that was known when it was asked for: one that is missing in the answer has been
    delivered by another Connection.
    """

    call_sid: str
    after_seq: int
    covers: int = field(default=0, compare=False)


@dataclass(init=False, slots=True)
class Delivered:
    """The batch is done with: delete it from the call log."""

    call_sid: str
    seq: int

    def __init__(self, call_sid: str, seq: int) -> None:
        self.call_sid = call_sid
        self.seq = seq


@dataclass(frozen=True, slots=True)
class LeftToAnother:
    """The batch holds nothing but an Ack of another Connection of the Call, which deletes it from the call log."""

    call_sid: str
    seq: int


@dataclass(init=False, slots=True)
class MarkAcked:
    """Remember in the Call's hash that jambonz has the ack of its ``session:new`` (PROTOCOL.md 2.6.3).

    Attributes:
        call_sid: The Call.
        seq: The batch with the ack, if commands of it wait yet; else 0.
        left: What takes its place in the call log: these commands, without the ack.
    """

    call_sid: str
    seq: int
    left: bytes

    def __init__(self, call_sid: str, seq: int = 0, left: bytes = b"") -> None:
        self.call_sid = call_sid
        self.seq = seq
        self.left = left


@dataclass(frozen=True, slots=True)
class Report:
    """Tell ``process_id`` what became of its Directive."""

    process_id: str
    outcome: Outcome


@dataclass(init=False, slots=True)
class Detach:
    """The Connection leaves the Call; answer with ``Session.detached``."""

    call_sid: str
    epoch: int

    def __init__(self, call_sid: str, epoch: int) -> None:
        self.call_sid = call_sid
        self.epoch = epoch


@dataclass(init=False, slots=True)
class Forget:
    """Nothing more comes for this Call on this Connection: unsubscribe."""

    call_sid: str

    def __init__(self, call_sid: str) -> None:
        self.call_sid = call_sid


@dataclass(frozen=True, slots=True)
class Count:
    """Something worth a metric happened; ``name`` is a label of ``metrics.SESSION_EVENTS``.

    Attributes:
        kind: Of the Hook it is about, if it is worth a line in the log.
        hook: Its path.
    """

    name: str
    kind: str = ""
    hook: str = ""


Seldom = Ping | CloseSocket | Attach | ReadLog | LeftToAnother | MarkAcked | Report | Detach | Forget | Count
"""What most messages do not bring about."""

Effect = Send | Publish | Delivered | Seldom
