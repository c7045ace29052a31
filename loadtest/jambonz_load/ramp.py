"""A load that rises in steps until a limit breaks, and what each step bore. Pure."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from jambonz_load.tally import Limits, Tally

# For so long a step is measured, once its live calls are as many as they will be.
MEASURED_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was counted up to one moment.

    Attributes:
        at_s: Unix seconds.
        ack_ms: How many acks took how many milliseconds; unanswered hooks count as 5000.
    """

    at_s: float
    tally: Tally
    ack_ms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step bore, while it was measured.

    Attributes:
        asked_per_s: Calls per second that were due.
        live: Calls that lived at its end.
        late_share: Share of the looks at its clock at which the generator was late.
        begins_at_s, ends_at_s: Unix seconds.
        broken: A sentence for each limit that broke, with semicolons between them; empty if it was a good step.
    """

    asked_per_s: float
    calls_per_s: float
    live: int
    hooks_per_s: float
    ack_p99_ms: float
    missed: int
    failed: int
    late_share: float
    begins_at_s: float
    ends_at_s: float
    broken: str


class Ramp:
    """Steps of equal height and length up to ``top_per_s``; ``see`` looks at them as they pass.

    Attributes:
        steps: Those that are over.
    """

    def __init__(self, top_per_s: float, total_s: float, settle_s: float, limits: Limits) -> None:
        """Plan as many steps as there is time for.

        ``settle_s`` is the length of a call: so long it takes until a step has all of its live calls.

        Raises:
            ValueError: If not even one step fits.
        """
        needed_s = settle_s + MEASURED_S
        self.count = int(total_s / needed_s)
        if not self.count:
            raise ValueError(f"a ramp of {total_s:g} s: expected {needed_s:g} s or more, the time of one step")
        self._top_per_s = top_per_s
        self._step_s = total_s / self.count
        self._settle_s = self._step_s - MEASURED_S
        self._limits = limits
        self._number = 0
        self._first: Reading | None = None
        self._last: Reading | None = None
        self.steps: list[Step] = []

    @property
    def is_broken(self) -> bool:
        """True if the last step broke a limit: there is no use in going on."""
        return bool(self.steps and self.steps[-1].broken)

    def per_s(self, share: float) -> float:
        """Return the calls per second that are due when ``share`` of the time is over."""
        return self._asked_per_s(min(self.count - 1, int(share * self.count)))

    def see(self, run_s: float, reading: Reading) -> None:
        """Take what was counted ``run_s`` seconds after the start; call it about each second, and once at the end."""
        number = int(run_s / self._step_s)
        if number != self._number:
            self._close()
            self._number = number
        if number >= self.count:
            return
        if self._first is None and run_s - number * self._step_s >= self._settle_s:
            self._first = reading
        self._last = reading

    def _close(self) -> None:
        if self._first is not None and self._last is not None and self._last.at_s > self._first.at_s:
            self.steps.append(_measured(self._asked_per_s(self._number), self._first, self._last, self._limits))
        self._first = self._last = None

    def _asked_per_s(self, number: int) -> float:
        return self._top_per_s * (number + 1) / self.count


def _measured(asked_per_s: float, first: Reading, last: Reading, limits: Limits) -> Step:
    counted = last.tally.since(first.tally)
    seconds = _seconds(counted, last.at_s - first.at_s)
    p99_ms = percentile_ms({ms: count - first.ack_ms.get(ms, 0) for ms, count in last.ack_ms.items()}, 0.99)
    broken = limits.of_the_generator(counted, asked_per_s, seconds)
    # Of the calls that start in a step only some end in it, and the other way round.
    broken += limits.broken(replace(counted, started=counted.calls), p99_ms)
    return Step(
        asked_per_s=asked_per_s,
        calls_per_s=counted.started / seconds,
        live=last.tally.started - last.tally.calls,
        hooks_per_s=counted.hooks / seconds,
        ack_p99_ms=p99_ms,
        missed=counted.deadline_misses,
        failed=counted.failed,
        late_share=counted.late_share,
        begins_at_s=first.at_s,
        ends_at_s=last.at_s,
        broken="; ".join(broken),
    )


def _seconds(counted: Tally, passed_s: float) -> float:
    """Return how long it took to count this.

    Other processes report each three seconds (locust's WORKER_REPORT_INTERVAL), so theirs is not the time that has
    passed here; they tell how long they have counted.
    """
    processes = round(counted.watched_s / passed_s)
    return counted.watched_s / processes if processes else passed_s


def percentile_ms(counts: Mapping[int, int], share: float) -> float:
    """Return the time within which ``share`` of all were done; 0 if there were none."""
    left = share * sum(counts.values())
    for ms in sorted(counts):
        left -= counts[ms]
        if left <= 0 and counts[ms]:
            return float(ms)
    return 0.0


def verdict(steps: list[Step]) -> str:
    """Return for people where the limits broke, or that they did not."""
    if not steps:
        return "no step was measured to its end\n"
    lines = [
        f"{step.asked_per_s:g} calls/s: {step.live} live, {step.hooks_per_s:.0f} hooks/s, acks p99 "
        f"{step.ack_p99_ms:.0f} ms, {step.missed} missed, {step.failed} failed"
        for step in steps
    ]
    good = last_good(steps)
    if good is None:
        lines.append("no step kept the limits: begin lower")
    else:
        lines.append(f"last good step: {good.calls_per_s:.1f} calls/s, {good.live} live calls")
    if steps[-1].broken:
        lines.append(f"BROKEN at {steps[-1].asked_per_s:g} calls/s: {steps[-1].broken}")
    else:
        lines.append("all limits kept up to the top: ask for more calls per second")
    return "\n".join(lines) + "\n"


def last_good(steps: list[Step]) -> Step | None:
    """Return the highest step at which every limit was kept."""
    return next((step for step in reversed(steps) if not step.broken), None)


def as_csv(steps: list[Step]) -> str:
    """Return a line for each step, with names above."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Step)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(step) for step in steps)
    return out.getvalue()


def from_csv(text: str) -> list[Step]:
    """Read what ``as_csv`` has written."""
    kinds: Mapping[object, type[int | float | str]] = {int: int, float: float, str: str}
    return [
        Step(**{field.name: kinds[field.type](row[field.name]) for field in fields(Step)})
        for row in csv.DictReader(io.StringIO(text))
    ]
