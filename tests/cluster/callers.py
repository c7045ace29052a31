"""Callers of the compose cluster: an open stream of calls, and what became of them."""

import asyncio
import io
import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rich.console import Console

from jambonz_simulator import CallOptions, CallResult, Press, Script, Wait, simulate_call
from jambonz_simulator.core.records import INNOCENT_ANOMALIES
from jambonz_simulator.transcript import Conversation, print_end

_T = TypeVar("_T")

# A caller who listens, presses a digit now and then, and hangs up after about 12 s.
CHATTING: Final = Script(
    name="chatting", steps=(Press("1", after_s=2.0), Press("1", after_s=3.0), Wait(4), Press("9")), patience_s=20
)
STAYING: Final = Script(name="staying", steps=(), patience_s=12)

LOOK_S: Final = 0.05


@dataclass(slots=True)
class Calls:
    """What became of all calls so far.

    Attributes:
        latest_s: By how much the callers themselves were late at most: what they said then, they said all at once.
    """

    results: list[CallResult] = field(default_factory=list)
    latest_s: float = 0.0

    @property
    def bad(self) -> list[CallResult]:
        """Return the calls that did not end as their callers wanted, but for the silenced ones."""
        return [result for result in self.results if not result.is_good and not _is_silenced(result)]

    @property
    def lost(self) -> list[str]:
        """Return a sentence for each bad call."""
        return [
            f"{result.outcome.kind} {result.outcome.reason} {[a.kind for a in result.anomalies]}" for result in self.bad
        ]

    @property
    def silenced(self) -> int:
        """Calls whose hook died with its socket, or its answer did: what cannot be saved (failure-modes.md)."""
        return sum(_is_silenced(result) for result in self.results)

    @property
    def moved(self) -> int:
        """Calls that lost a socket."""
        return sum(count for moves, count in self.moves().items() if moves)

    def stories(self, most: int = 3) -> str:
        """Return what happened in the first calls that were lost, for people."""
        text = io.StringIO()
        console = Console(file=text, width=200)
        for result in self.bad[:most]:
            console.print(f"call {result.call_sid}")
            Conversation(console).show(result.entries)
            print_end(console, result)
        return text.getvalue()

    @property
    def deadline_misses(self) -> int:
        """Hooks without an answer within jambonz's 5 s."""
        return sum(result.deadline_misses for result in self.results)

    def moves(self) -> Counter[int]:
        """How many calls moved how often."""
        return Counter(result.reconnects for result in self.results)

    def longest_silence_s(self) -> float:
        """The longest time that a call was without an answering gateway."""
        return max((_silence_s(result) for result in self.results), default=0.0)

    def report(self, title: str) -> str:
        """Return one line for people."""
        hooks = [hook for result in self.results for hook in result.hooks]
        latencies_s = sorted(hook.latency_s for hook in hooks if hook.latency_s is not None) or [0.0]
        died = sum(hook.dead_by == "drop" for hook in hooks)
        moves = ", ".join(f"{count} x {moves}" for moves, count in sorted(self.moves().items()))
        return (
            f"{title}: {len(self.results)} calls, {len(self.lost)} lost, {self.silenced} silenced, {len(hooks)} hooks, "
            f"{self.deadline_misses} deadlines missed, {died} died with their socket, "
            f"acks p50 {statistics.median(latencies_s):.3f} s, worst {latencies_s[-1]:.3f} s, "
            f"moves per call: {moves}, longest silence {self.longest_silence_s():.2f} s, "
            f"callers late by {self.latest_s:.2f} s"
        )


def _is_silenced(result: CallResult) -> bool:
    kinds = {anomaly.kind for anomaly in result.anomalies} - INNOCENT_ANOMALIES
    return kinds == {"caller_gave_up"} and any(hook.dead_by == "drop" for hook in result.hooks)


def _silence_s(result: CallResult) -> float:
    """From the loss of a socket to the ack of ``session:reconnect`` on the next one, the longest of a call."""
    lost_at_s = [entry.t_s for entry in result.entries if "close" in entry.frame]
    longest_s = 0.0
    for hook in result.hooks:
        # Connections that failed in between have numbers, too: what counts is the last loss before.
        before_s = [at_s for at_s in lost_at_s if at_s <= hook.sent_at_s]
        if hook.kind == "session:reconnect" and hook.acked_at_s is not None and before_s:
            longest_s = max(longest_s, hook.acked_at_s - before_s[-1])
    return longest_s


@asynccontextmanager
async def calling(url: str, per_s: float, script: Script = CHATTING) -> AsyncIterator[Calls]:
    """Start so many calls per second while the block runs; then let all of them end."""
    calls = Calls()
    async with asyncio.TaskGroup() as group:

        async def play() -> None:
            calls.results.append(await simulate_call(url, script, CallOptions()))

        async def arrive() -> None:
            # By the clock: a machine that is late now and then still gets all of its calls.
            began_s = time.monotonic()
            for number in itertools.count(1):
                group.create_task(play())
                await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))

        async def look_at_the_clock() -> None:
            while True:
                due_s = time.monotonic() + LOOK_S
                await asyncio.sleep(LOOK_S)
                calls.latest_s = max(calls.latest_s, time.monotonic() - due_s)

        tasks = [group.create_task(arrive()), group.create_task(look_at_the_clock())]
        try:
            yield calls
        finally:
            for task in tasks:
                task.cancel()


async def beside(work: Callable[[], _T]) -> _T:
    """Do something slow while the calls go on."""
    awaitable: Awaitable[_T] = asyncio.to_thread(work)
    return await awaitable
