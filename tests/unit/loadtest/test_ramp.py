"""Where a ramp stops, what it blames, and what its steps cost; without a cluster."""

from dataclasses import asdict

import pytest
from jambonz_load.costs import Usage, between, table
from jambonz_load.ramp import Ramp, Reading, Step, as_csv, from_csv, last_good, percentile_ms, verdict
from jambonz_load.tally import Limits, Tally

SETTLE_S = 10.0
# Two steps of 25 s: in each, 10 s for calls to become as many as they will be, and 15 s to measure.
TOTAL_S = 50.0
CALL_S = 5


def ramp(top_per_s: float = 20.0) -> Ramp:
    return Ramp(top_per_s, TOTAL_S, SETTLE_S, Limits(0.0, 1000.0))


def counted(second: int, per_s: int) -> Tally:
    """Return what is counted after so many seconds at a rate: calls of 5 s with two hooks, all well."""
    calls = per_s * max(0, second - CALL_S)
    return Tally(started=per_s * second, calls=calls, hooks=2 * calls, looks=10 * second, watched_s=float(second))


def play(one: Ramp, until_s: int, worse: Tally | None = None, slow_ms: int = 20) -> None:
    """Let seconds pass at the first step's rate; ``worse`` is added to what was counted after 20 s."""
    for second in range(until_s + 1):
        tally = counted(second, per_s=10)
        if worse is not None and second >= 20:
            tally.merge(asdict(worse))
        one.see(float(second), Reading(1000.0 + second, tally, {20: 10 * second, slow_ms: max(0, second - 12)}))


def test_rate_rises_in_steps_to_the_top() -> None:
    """As many equal steps as there is time for, the last one at what was asked for."""
    one = Ramp(30.0, 3 * (SETTLE_S + 15) + 1, SETTLE_S, Limits())
    assert [one.per_s(share) for share in (0.0, 0.32, 0.34, 0.67, 0.99, 1.0)] == [10, 10, 20, 30, 30, 30]


def test_ramp_without_time_for_a_step_is_refused() -> None:
    """A step that ends before its calls do would find every rate bearable."""
    with pytest.raises(ValueError, match="expected 25 s or more"):
        Ramp(10.0, 24.0, SETTLE_S, Limits())


def test_step_is_measured_once_it_has_settled() -> None:
    """Of 25 s the last 15 count, with their own rate, hooks and live calls."""
    one = ramp()
    play(one, 25)
    (step,) = one.steps
    assert (step.begins_at_s, step.ends_at_s) == (1010.0, 1024.0)
    assert (step.asked_per_s, step.calls_per_s, step.live, step.hooks_per_s) == (10.0, 10.0, 50, 20.0)
    assert not step.broken
    assert not one.is_broken


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        pytest.param(Tally(failed=1), "calls failed", id="failed_call"),
        pytest.param(Tally(deadline_misses=1), "not answered", id="missed_deadline"),
        pytest.param(Tally(out_of_order=1), "out of order", id="order"),
        pytest.param(Tally(late_looks=9), "the generator had no CPU left", id="late_generator"),
        pytest.param(Tally(started=-100), "the generator started", id="calls_that_were_not_started"),
    ],
)
def test_ramp_ends_at_the_step_that_breaks_a_limit_and_names_it(worse: Tally, word: str) -> None:
    """Whether the cluster or the generator was at its end is the difference between a figure and none."""
    one = ramp()
    play(one, 25, worse)
    assert one.is_broken
    assert word in one.steps[-1].broken
    assert word in verdict(one.steps)
    assert "no step kept the limits" in verdict(one.steps)


def test_slow_acks_of_the_step_break_it_not_those_before() -> None:
    """The percentile is that of the time that is measured."""
    one = ramp()
    play(one, 25, slow_ms=1500)
    assert "99th percentile of the acks is 1500 ms" in one.steps[0].broken


def test_rates_go_by_the_time_that_the_generators_have_counted() -> None:
    """Two of them, each of whose reports holds three seconds: in 14 s come reports of 15."""
    one = ramp()
    for second in range(26):
        reported = 3 * (second // 3 + 1)
        tally = Tally(started=10 * reported, calls=10 * reported, watched_s=2.0 * reported)
        one.see(float(second), Reading(1000.0 + second, tally, {}))
    assert one.steps[0].calls_per_s == 10.0


def test_last_step_is_closed_at_the_end() -> None:
    """The top counts like every other step; beyond it there is none."""
    one = ramp(top_per_s=10.0)
    play(one, 52)
    assert [step.asked_per_s for step in one.steps] == [5.0, 10.0]
    assert "all limits kept up to the top" in verdict(one.steps)


def test_ramp_without_a_measured_step_says_so_and_nothing_else() -> None:
    """Neither were limits broken nor kept."""
    assert verdict([]) == "no step was measured to its end\n"


def test_percentile_is_the_time_within_which_the_share_was_done() -> None:
    """Of nothing it is 0."""
    assert percentile_ms({10: 98, 70: 1, 500: 1}, 0.99) == 70
    assert percentile_ms({10: 98, 70: 1, 500: 1}, 0.5) == 10
    assert percentile_ms({}, 0.99) == 0


STEPS = [
    Step(10.0, 10.5, 50, 20.0, 41.0, 0, 0, 0.0, 1010.0, 1020.0, ""),
    Step(20.0, 20.0, 100, 40.0, 1500.0, 3, 1, 0.02, 1030.0, 1040.0, "too slow; and more"),
]


def test_steps_survive_the_table() -> None:
    """locust writes them, the report of this machine reads them."""
    assert from_csv(as_csv(STEPS)) == STEPS
    assert last_good(STEPS) == STEPS[0]
    assert "last good step: 10.5 calls/s, 50 live calls\nBROKEN at 20 calls/s: too slow; and more" in verdict(STEPS)


def test_cores_are_those_of_the_measured_time() -> None:
    """Looks at the CPU come each two seconds, steps begin between them."""
    usages = [Usage(1000.0 + 3 * n, 1.5 * n, 0.6 * n, 3.0 * n, 4.5 * n) for n in range(20)]
    cores = between(usages, 1010.0, 1020.0)
    assert cores.at_s == 10.0
    assert (cores.cluster_s, cores.redis_s, cores.load_s, cores.machine_s) == pytest.approx((0.5, 0.2, 1.0, 1.5))
    shown = table(STEPS, usages)
    assert "| 10.5 | 50 | 20 | 41 ms | 0 | 0 | 0.50 | 0.20 | 1.00 | 1.50 | kept |" in shown
    assert "| 3 | 1 | 0.50 | 0.20 | 1.00 | 1.50 | too slow; and more |" in shown
    assert "Last good step: 21 calls/s and 100 live calls per core" in shown


def test_without_a_good_step_nothing_is_told_per_core() -> None:
    """A figure of a broken step would be read as a capacity."""
    assert "per core of gateways" not in table(STEPS[1:], [Usage(1000.0, 0, 0, 0, 0), Usage(1100.0, 9, 9, 9, 9)])
