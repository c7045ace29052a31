"""What must be true of every call, whatever died: judged from transcripts and from the application's own numbers."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from jambonz_simulator import CallResult, CommandRecord, HookRecord
from tests.chaos.callers import Caller, Crowd, number_of, tag_of

# What is written to a socket that dies is lost with it, and nobody can tell: bytes in the kernels' buffers. A dying
# process or a reset needs less than this; a frozen gateway keeps what it was sent as long as it is frozen.
IN_FLIGHT_S: Final = 6.0

# jambonz hangs up when a socket is lost before its session:reconnect is acked (PROTOCOL.md 2.6.2). The gateway waits
# for Redis for 0.25 s; whoever kills it in this time, and in what a starved process takes longer, kills the call.
RECONNECT_ACK_S: Final = 1.0

# No fault of a server: connections that a fault refused, an ack of a hook that died with its socket, and a command
# that crossed the caller's hanging up on the wire.
HARMLESS: Final = frozenset({"connect_failed", "late_ack", "frame_after_close"})

# What a server that was never asked in time, or whose answer nobody read, breaks as well as one that is slow.
MATTERS_OF_TIME: Final = frozenset(
    {"no call lost", "no anomaly", "every hook acked in time", "nothing lost", "calls can be asked"}
)


@dataclass(slots=True)
class Findings:
    """What was counted over all calls.

    Attributes:
        counts: How often each thing happened.
        violations: ``(invariant, sentence)``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)

    def broken(self, invariant: str, caller: Caller, sentence: str) -> None:
        """Note a violation."""
        self.violations.append((invariant, f"call {caller.sid}: {sentence}"))

    def assert_none(self) -> None:
        """Fail with the first violations."""
        shown = "\n".join(f"{name}: {sentence}" for name, sentence in self.violations[:20])
        assert not self.violations, f"{len(self.violations)} violations\n{shown}"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A number on the wire, in the order of the transcript."""

    number: int
    connection: int
    at_s: float
    is_hook: bool


class Examination:
    """Judges one call that has ended."""

    def __init__(self, caller: Caller, findings: Findings) -> None:
        result = caller.live.result
        assert result is not None, "the call has to be over"
        self._caller: Final = caller
        self._result: Final[CallResult] = result
        self._findings: Final = findings
        self._sent: Final = _numbers_sent(result, caller.report_msgid)
        self._ends: Final = _ends_of_connections(result)

    def judge(self) -> None:
        """Judge everything."""
        self._findings.counts["calls"] += 1
        self._findings.counts["reconnects"] += self._result.reconnects
        if self._was_hit_twice():
            self._findings.counts["calls lost because a second fault hit their session:reconnect"] += 1
            return
        self._no_call_lost()
        self._one_ack_each()
        self._events_once_in_order()
        self._state_never_back()
        self._commands_once_in_order()

    def _was_hit_twice(self) -> bool:
        reconnect = next((one for one in reversed(self._result.hooks) if one.kind == "session:reconnect"), None)
        return (
            self._result.outcome.kind == "reconnect_failed"
            and reconnect is not None
            and reconnect.dead_by == "drop"
            and self._end_of(reconnect.connection) - reconnect.sent_at_s < RECONNECT_ACK_S
        )

    def _no_call_lost(self) -> None:
        """P6, P7: the call ended because its caller hung up, and jambonz had nothing to complain of."""
        outcome = self._result.outcome
        if outcome.kind != "completed":
            self._findings.broken("no call lost", self._caller, f"{outcome}")
        for anomaly in self._result.anomalies:
            if anomaly.kind not in HARMLESS and anomaly.kind != "deadline_missed":
                self._findings.broken("no anomaly", self._caller, f"{anomaly}")

    def _one_ack_each(self) -> None:
        """P1: acked once in time, or dead with its socket."""
        redirected = {tag["i"] for command in self._late_answers() if (tag := _tag_of(command)) and "i" in tag}
        seen = set(self._caller.report or ())
        for record in self._result.hooks:
            self._one_ack(record, redirected, seen)

    def _one_ack(self, record: HookRecord, redirected: set[int], seen: set[int]) -> None:
        counts, number = self._findings.counts, number_of(record)
        if record.dead_by == "timeout" or (not record.is_acked and not record.dead_by and not self._at_the_end(record)):
            self._findings.broken("every hook acked in time", self._caller, f"{record}")
        if record.duplicate_acks:
            self._findings.broken("one ack each", self._caller, f"{record}")
        counts["hooks"] += 1
        if record.is_acked and (number is None or tag_of(record.verbs)):
            counts["acks by workers"] += 1
        elif record.is_acked:
            counts["fallback acks"] += 1
            counts["late answers as redirects"] += number in redirected
        elif record.dead_by:
            counts["died with their socket"] += 1
            if number in redirected:
                counts["late answers as redirects"] += 1
            elif number in seen:
                counts["answers lost in a dying socket"] += 1
                self._in_flight("answer", number, self._end_of(record.connection) - record.sent_at_s)

    def _in_flight(self, what: str, number: int | None, age_s: float) -> None:
        if age_s > IN_FLIGHT_S:
            self._findings.broken("nothing lost", self._caller, f"{what} {number} lost, {age_s:.1f} s before its end")

    def _events_once_in_order(self) -> None:
        """P2, P3: each number once; those of one connection in order; none missing that a gateway had read."""
        report, counts = self._caller.report, self._findings.counts
        if report is None:
            counts["calls without a report"] += 1
            self._findings.broken("calls can be asked", self._caller, "no report at the end")
            return
        counts["events"] += len(self._sent)
        repeated = [number for number, times in Counter(report).items() if times > 1]
        if repeated:
            self._findings.broken("events once", self._caller, f"{repeated} more than once in {report}")
        sent = {one.number: one for one in self._sent}
        order = {number: position for position, number in enumerate(sent)}
        for earlier, later in pairwise(number for number in report if number in sent):
            if order[earlier] > order[later]:
                if sent[earlier].connection == sent[later].connection:
                    self._findings.broken("events in order", self._caller, f"{later} after {earlier} in {report}")
                counts["events of a dead socket after newer ones"] += 1
        for number in sent.keys() - set(report):
            one = sent[number]
            counts["events lost in a dying socket"] += 1
            self._in_flight("event", number, self._end_of(one.connection) - one.at_s)

    def _state_never_back(self) -> None:
        """P3: the counter in an answer is the place of its number in what the application has seen."""
        report = self._caller.report or []
        sent = {one.number for one in self._sent}
        tags = [*self._caller.answers, *(tag for one in self._late_answers() if (tag := _tag_of(one)))]
        for tag in tags:
            if "count" not in tag or tag["i"] not in sent or report[tag["count"] - 1 : tag["count"]] == [tag["i"]]:
                continue
            if tag["count"] > len(report) and self._came_over_an_older_socket(tag["i"]):
                self._findings.counts["events of a dead socket after the report"] += 1
                continue
            self._findings.broken("state never goes back", self._caller, f"{tag} in {report}")

    def _came_over_an_older_socket(self, number: int) -> bool:
        """Whether the number was sent before the socket of the report opened: it may be handled behind it."""
        newest = max(
            (hook.connection for hook in self._result.hooks if hook.msgid == self._caller.report_msgid), default=0
        )
        return any(one.number == number and one.connection < newest for one in self._sent)

    def _commands_once_in_order(self) -> None:
        """P4, P5: each series without holes and repetitions; an old owner's series ends when a new one begins."""
        by_series: dict[Any, list[tuple[int, CommandRecord]]] = {}
        newest: Any = 0
        for command in self._result.commands:
            tag = _tag_of(command)
            if tag is None or not ({"tick", "remote"} & tag.keys()):
                continue
            self._findings.counts["commands"] += 1
            series, number = tag.get("tick") or ("remote", tag["remote"])
            by_series.setdefault(series, []).append((number, command))
            if series != "remote":
                if series < newest:
                    self._findings.broken("fenced", self._caller, f"tick of fence {series} after {newest}")
                newest = max(newest, series)
        for series, numbers in by_series.items():
            self._series(series, numbers)
        self._outcomes_true({number for number, _ in by_series.get("remote", [])})

    def _outcomes_true(self, arrived: set[int]) -> None:
        """P4: what its sender was told to be sent has come, unless the socket died."""
        for number, outcome in self._caller.remotes.items():
            self._findings.counts[f"remote commands {outcome}"] += 1
            if outcome == "sent" and number not in arrived:
                # A frame after the close is one that crossed the caller's hanging up on the wire.
                if self._ends or any(it.kind == "frame_after_close" for it in self._result.anomalies):
                    self._findings.counts["commands lost in a dying socket"] += 1
                else:
                    self._findings.broken("no command lost", self._caller, f"remote {number} was sent and never came")

    def _series(self, series: Any, numbers: list[tuple[int, CommandRecord]]) -> None:
        before, before_at_s = (numbers[0][0] - 1 if series == "remote" else 0), 0.0
        for number, command in numbers:
            if number == before + 1:
                pass
            elif number <= before and self._socket_died(before_at_s, command.at_s):
                self._findings.counts["commands repeated after a dying socket"] += 1
            elif number > before + 1 and self._socket_died(before_at_s, command.at_s):
                self._findings.counts["commands lost in a dying socket"] += number - before - 1
            elif series != "remote" or number <= before:
                sentence = f"{number} follows {before} in the series {series}"
                self._findings.broken("commands once and in order", self._caller, sentence)
            before, before_at_s = number, command.at_s

    def _late_answers(self) -> list[CommandRecord]:
        return [one for one in self._result.commands if one.command == "redirect" and not one.queue_command]

    def _socket_died(self, from_s: float, to_s: float) -> bool:
        return any(from_s - 1.0 <= end_s <= to_s + 1.0 for end_s in self._ends.values())

    def _end_of(self, connection: int) -> float:
        return self._ends.get(connection, self._result.duration_s + 1000.0)

    def _at_the_end(self, record: HookRecord) -> bool:
        """Whether the call ended while the hook was still in time."""
        return self._result.duration_s - record.sent_at_s < 5.0


def examine(people: Crowd) -> Findings:
    """Judge all calls, which have to be over; what took too long while this machine stood still is excused."""
    findings = Findings()
    excused = 0
    for caller in people.callers:
        found = Findings(findings.counts)
        Examination(caller, found).judge()
        if people.stood_still(caller) and any(name in MATTERS_OF_TIME for name, _ in found.violations):
            found.violations = [it for it in found.violations if it[0] not in MATTERS_OF_TIME]
            excused += 1
        findings.violations += found.violations
    if excused:
        findings.counts["calls excused, since the machine stood still"] = excused
    if excused > len(people.callers) / 2:
        spans = ", ".join(f"{to_s - from_s:.1f}" for from_s, to_s in people.standstills.spans)
        findings.violations.append(("half of the calls are judged by the clock", f"stood still for {spans} s"))
    return findings


def _numbers_sent(result: CallResult, until_msgid: str) -> list[_Sent]:
    """Return the numbers on the wire before the hook that asked for the report.

    jambonz may send it before a number that waited for a socket (PROTOCOL.md 2.6.2).
    """
    sent: list[_Sent] = []
    for entry in result.entries:
        if entry.who != "jambonz":
            continue
        if until_msgid and entry.frame.get("msgid") == until_msgid:
            break
        kind, hook = entry.frame.get("type"), entry.frame.get("hook") or ""
        last = hook.rpartition("/")[2]
        if kind == "verb:hook" and last.isdigit():
            sent.append(_Sent(int(last), entry.connection, entry.t_s, is_hook=True))
        elif kind == "verb:status" and "i" in entry.frame.get("data", {}):
            sent.append(_Sent(entry.frame["data"]["i"], entry.connection, entry.t_s, is_hook=False))
    return sent


def _ends_of_connections(result: CallResult) -> dict[int, float]:
    """Return when each connection was lost, in seconds of the call; those that jambonz closed itself are not lost."""
    return {
        entry.connection: entry.t_s
        for entry in result.entries
        if "close" in entry.frame and not (entry.who == "jambonz" and entry.frame["close"] == 1000)
    }


def _tag_of(command: CommandRecord) -> dict[str, Any] | None:
    return tag_of(command.data) if isinstance(command.data, list) else None
