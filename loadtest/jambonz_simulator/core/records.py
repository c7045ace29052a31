"""What a simulated call writes down: transcript, hooks, commands, anomalies, result. Pure."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from jambonz_simulator.core.script import Step

Who: TypeAlias = Literal["jambonz", "server", "caller"]
DeadBy: TypeAlias = Literal["timeout", "drop"]
Verdict: TypeAlias = Literal["accepted", "lost", "ignored", "invalid"]
OutcomeKind: TypeAlias = Literal[
    "completed", "rejected", "unanswered", "failed", "reconnect_failed", "deaf", "zombie", "crashed"
]

# What crosses the close frame of jambonz on the wire is nobody's fault.
INNOCENT_ANOMALIES: Final = frozenset({"frame_after_close"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the transcript.

    Attributes:
        t_s: Seconds since the call started.
        connection: Number of the websocket, 0 for what happens outside of any.
        who: Who said it.
        frame: The message, or ``{"http": "GET", "path", "subprotocol"}`` for the opening,
            ``{"close": code}``, ``{"failed": why}``, ``{"presses": digits}`` and the like.
    """

    t_s: float
    connection: int
    who: Who
    frame: dict[str, Any]


@dataclass(slots=True)
class HookRecord:
    """The life of one message that wants an ack.

    Attributes:
        dead_by: What ended the waiting without an ack, ``None`` while it waits or if acked.
        data: ``data`` of the ack, ``None`` if it had none or there is no ack yet.
        late_acks: Times at which acks came after the hook had died.
        duplicate_acks: How many acks came after the first one that counted.
    """

    msgid: str
    kind: str
    hook: str | None
    connection: int
    sent_at_s: float
    acked_at_s: float | None = None
    dead_by: DeadBy | None = None
    data: Any = None
    late_acks: list[float] = field(default_factory=list)
    duplicate_acks: int = 0

    @property
    def is_acked(self) -> bool:
        """True if an ack came in time."""
        return self.acked_at_s is not None

    @property
    def latency_s(self) -> float | None:
        """Seconds from sending to the ack, ``None`` without an ack in time."""
        return None if self.acked_at_s is None else self.acked_at_s - self.sent_at_s

    @property
    def verbs(self) -> list[dict[str, Any]]:
        """The verbs of the ack, empty if it carried none."""
        return self.data if isinstance(self.data, list) else []


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command as it came, and what jambonz would have made of it (it never tells)."""

    at_s: float
    connection: int
    command: str
    data: Any
    call_sid: str | None
    queue_command: bool
    tool_call_id: str | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that a well-behaved server never causes, by ``kind``; see docs/reference."""

    at_s: float
    connection: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the call ended.

    Attributes:
        kind: ``completed``: normally. ``rejected``: session:new was not answered with an app.
            ``unanswered``: busy, no answer, declined, cancelled or not answered by the app.
            ``failed``: no socket could be opened.
            ``reconnect_failed``: session:reconnect was not acked. ``deaf``: the server closed
            with 1000 while the call lived. ``zombie``: hooks could not be sent to the end
            (PROTOCOL.md 2.6.3). ``crashed``: the feature server died (pitfall 1).
        sip_status: SIP status that the caller saw last.
        reason: Words for people.
    """

    kind: OutcomeKind
    sip_status: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """All about one finished call; times are seconds since its start.

    Attributes:
        entries: The transcript; empty if it was not kept.
        sockets: How many websockets were opened successfully.
        reconnects: How many of them began with session:reconnect.
        failed_connects: How many could not be opened: jambonz tries again, up to 13 s later, while the caller waits.
        notices: How many messages that want no ack were sent.
    """

    script: str
    call_sid: str
    direction: str
    outcome: Outcome
    duration_s: float
    hooks: tuple[HookRecord, ...]
    commands: tuple[CommandRecord, ...]
    anomalies: tuple[Anomaly, ...]
    entries: tuple[Entry, ...]
    sockets: int
    reconnects: int
    failed_connects: int
    notices: int

    @property
    def deadline_misses(self) -> int:
        """How many hooks got no ack within jambonz's 5 s."""
        return sum(hook.dead_by == "timeout" for hook in self.hooks)

    @property
    def unanswered_hooks(self) -> int:
        """How many hooks died with their socket, or were open when the call ended."""
        return sum(not hook.is_acked and hook.dead_by != "timeout" for hook in self.hooks)

    @property
    def is_good(self) -> bool:
        """True if the call ended as it should and the server broke no rule."""
        is_clean = all(anomaly.kind in INNOCENT_ANOMALIES for anomaly in self.anomalies)
        return is_clean and self.outcome.kind in ("completed", "unanswered")

    def to_json(self) -> dict[str, Any]:
        """Give the whole result as JSON values."""
        return asdict(self)

    def left_unreaped(self) -> "CallResult":
        """Give the result of a call whose server has not closed a socket that jambonz never closes."""
        anomaly = Anomaly(self.duration_s, 0, "orphan_not_reaped", "a socket that only jambonz left (pitfall 31)")
        return replace(self, anomalies=(*self.anomalies, anomaly))


class Ledger:
    """Collects the records of a running call.

    Attributes:
        steps_left: What the caller has not done of the script, from the step that is being done on.
        has_hung_up: Whether it was the caller who ended the call.
    """

    def __init__(self, *, keeps_entries: bool) -> None:
        self._keeps_entries = keeps_entries
        self.started_at_s = 0.0
        self.entries: list[Entry] = []
        self.hooks: dict[str, HookRecord] = {}
        self.commands: list[CommandRecord] = []
        self.anomalies: list[Anomaly] = []
        self.notice_msgids: set[str] = set()
        self.steps_left: tuple[Step, ...] = ()
        self.has_hung_up = False
        self.sockets = 0
        self.reconnects = 0
        self.failed_connects = 0

    def entry(self, at_s: float, connection: int, who: Who, frame: dict[str, Any]) -> None:
        """Write a transcript line, if entries are kept."""
        if self._keeps_entries:
            self.entries.append(Entry(at_s - self.started_at_s, connection, who, frame))

    def anomaly(self, at_s: float, connection: int, kind: str, detail: str) -> None:
        """Write down what a well-behaved server never causes."""
        self.anomalies.append(Anomaly(at_s - self.started_at_s, connection, kind, detail))
