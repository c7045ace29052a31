"""Simulated calls for people to read: who said what and when; tables of many calls."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jambonz_simulator.core.records import CallResult, Entry
from jambonz_simulator.summary import Summary

_STYLES: Final = {"jambonz": "cyan", "server": "green", "caller": "yellow"}
_NAMES: Final = {"jambonz": "jambonz", "server": "app", "caller": "caller"}

# What tells most about a verb, besides its name.
_MAIN_PROPERTIES: Final = ("text", "url", "length", "target", "name", "actionHook", "data", "tokens")


class Conversation:
    """Prints a conversation as far as it has got; ``show`` may be called as often as one likes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0
        self._sent_at_s: dict[str, tuple[float, str]] = {}

    def show(self, entries: Sequence[Entry]) -> None:
        """Print what has not been printed of a transcript that has grown."""
        for entry in entries[self._shown :]:
            text = Text(f"{entry.t_s:8.3f}  ")
            text.append(f"{_NAMES[entry.who]:>7}", style=_STYLES[entry.who])
            text.append(f"  {_harmless(_sentence(entry, self._sent_at_s))}")
            self._console.print(text, soft_wrap=True)
        self._shown = len(entries)


def print_end(console: Console, result: CallResult) -> None:
    """Print how a call ended and what was wrong."""
    outcome = result.outcome
    style = "bold green" if result.is_good else "bold red"
    acked = sum(hook.is_acked for hook in result.hooks)
    ending = f"{outcome.kind} ({outcome.reason}), {acked} of {len(result.hooks)} hooks acked in time"
    console.print(Text(_harmless(ending), style=style), soft_wrap=True)
    for anomaly in result.anomalies:
        line = f"{anomaly.at_s:8.3f}  {anomaly.kind}: {anomaly.detail}"
        console.print(Text(_harmless(line), style="red"), soft_wrap=True)


def _sentence(entry: Entry, sent_at_s: dict[str, tuple[float, str]]) -> str:
    frame = entry.frame
    on = f" #{entry.connection}" if entry.connection > 1 else ""
    match frame:
        case {"http": _, "path": path}:
            return f"opens {path}{on}"
        case {"close": 1006}:
            return f"socket lost (1006){on}"
        case {"close": code}:
            return f"closes with {code}{on}"
        case {"failed": why}:
            return f"cannot connect: {why}"
        case {"type": "ack"}:
            return _ack(entry, sent_at_s)
        case {"type": "command", "command": command}:
            return f"command {command}{on}: {_argument(frame.get('data'))}"
        case {"type": kind, "msgid": msgid}:
            hook = str(frame.get("hook", ""))
            sent_at_s[msgid] = (entry.t_s, hook or kind)
            return f"{kind} {hook}{on} {_facts(frame)}".replace("  ", " ").rstrip()
        case _:
            return " ".join(f"{key} {value}" for key, value in frame.items())


def _ack(entry: Entry, sent_at_s: dict[str, tuple[float, str]]) -> str:
    msgid = entry.frame.get("msgid")
    since_s, what = sent_at_s.get(str(msgid), (entry.t_s, f"unknown {msgid!r}"))
    return f"ack {what} after {(entry.t_s - since_s) * 1000:.0f} ms: {_argument(entry.frame.get('data'))}"


def _argument(data: Any) -> str:
    if isinstance(data, list):
        return ", ".join(_verb(verb) for verb in data) if data else "nothing"
    return "nothing" if data is None else _short(data)


def _verb(verb: Any) -> str:
    if not isinstance(verb, dict):
        return _short(verb)
    name = verb.get("verb")
    if name is None:
        return _short(verb)
    prompt = verb.get("say") or verb.get("play")
    main = next((verb[key] for key in _MAIN_PROPERTIES if key in verb), None)
    words = [str(name)]
    if isinstance(prompt, dict):
        words.append(_short(prompt.get("text", prompt.get("url", ""))))
    if main is not None:
        words.append(_short(main))
    return " ".join(words)


def _facts(frame: dict[str, Any]) -> str:
    """Give what is worth reading in the data of a message."""
    data = frame.get("data", {})
    match frame["type"]:
        case "session:new":
            return f"from {data.get('from')} to {data.get('to')} ({data.get('direction')})"
        case "call:status":
            leg = " of the dialled leg" if "parent_call_sid" in data else ""
            return f"{data.get('call_status')}{leg}"
        case "verb:hook" | "dial:confirm":
            keys = ("reason", "digits", "speech", "dial_call_status", "queue_result", "event", "args")
            return ", ".join(f"{key} {_short(data[key])}" for key in keys if key in data)
        case "session:redirect" | "session:reconnect" | "session:adulting":
            return ""
        case _:
            return _short(data)


def _short(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _harmless(text: str) -> str:
    """Return what a server has said without anything that tells a terminal to do something, on one line."""
    return text if text.isprintable() else "".join(it if it.isprintable() else repr(it)[1:-1] for it in text)


def print_summary(console: Console, summary: Summary) -> None:
    """Print the table of many calls, and the first few that failed."""
    table = Table(show_header=False, title="Calls" if summary.calls != 1 else "Call")
    for name, value in _rows(summary):
        table.add_row(name, value)
    console.print(table)
    for failure in summary.failures:
        kinds = ", ".join(f"{anomaly.kind} ({anomaly.detail})" for anomaly in failure.anomalies[:3])
        line = f"{failure.call_sid}: {failure.outcome} ({failure.reason}); {kinds}"
        console.print(Text(_harmless(line), style="red"))


def _rows(summary: Summary) -> Iterator[tuple[str, str]]:
    value = summary.to_json()
    yield "calls", f"{summary.calls} in {summary.duration_s:.1f} s ({value['calls_per_s']:.1f} per second)"
    yield "outcomes", ", ".join(f"{kind} {count}" for kind, count in sorted(summary.outcomes.items()))
    yield "failed", str(summary.failed)
    yield "hooks", f"{summary.hooks}, acked in time {summary.acked}"
    ack_ms = value["ack_ms"]
    yield "ack latency", f"p50 {ack_ms['p50']:.2f} ms, p99 {ack_ms['p99']:.2f} ms, max {ack_ms['max']:.2f} ms"
    yield "deadlines missed", f"{summary.deadline_misses}, never answered {summary.unanswered_hooks}"
    yield "acks out of order, twice, late", f"{summary.out_of_order}, {summary.duplicate_acks}, {summary.late_acks}"
    commands = f"{summary.commands}, lost {summary.lost_commands}, ignored {summary.ignored_commands}"
    yield "commands", commands
    yield "sockets", f"{summary.sockets}, reconnects {summary.reconnects}, failed {summary.failed_connects}"
    if summary.delayed_calls:
        yield "started late", f"{summary.delayed_calls} (too many at the same time)"
    if summary.anomalies:
        yield "anomalies", ", ".join(f"{kind} {count}" for kind, count in sorted(summary.anomalies.items()))
