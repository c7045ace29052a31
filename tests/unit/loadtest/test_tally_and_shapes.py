"""What a load test counts and when it fails, without a cluster."""

import pytest

from jambonz_simulator.core.records import CallResult, HookRecord, Outcome
from loadtest.jambonz_load.shapes import SHAPES
from loadtest.jambonz_load.tally import Limits, Tally, report


def call(*, kind: str = "completed", latency_s: float | None = 0.1) -> CallResult:
    acked_at_s = None if latency_s is None else 1 + latency_s
    dead_by = "timeout" if latency_s is None else None
    hook = HookRecord("m1", "verb:hook", "/menu", 1, 1.0, acked_at_s, dead_by)  # type: ignore[arg-type]
    outcome = Outcome(kind, 200)  # type: ignore[arg-type]
    return CallResult("test", "sid", "inbound", outcome, 2.0, (hook,), (), (), (), 1, 0, 0)


def test_counts_of_two_processes_are_added_and_the_worst_ack_is_the_worst_of_both() -> None:
    """A master sees what one process would have seen."""
    here, there = Tally(), Tally()
    here.add(call(latency_s=0.2))
    there.add(call(latency_s=0.5))
    here.merge(there.taken())
    assert (here.calls, here.hooks) == (2, 2)
    assert here.worst_ack_ms == pytest.approx(500)
    assert here.margin_ms == pytest.approx(4500)
    assert there == Tally(), "what was taken is not sent again"


def test_good_calls_break_no_limit() -> None:
    """Exit code 0 means that all was well."""
    tally = Tally()
    tally.add(call())
    assert Limits().broken(tally, 100.0) == []
    assert "all limits kept" in report(tally, 100.0, [])


@pytest.mark.parametrize(
    ("result", "p99_ms", "word"),
    [
        pytest.param(call(kind="rejected"), 1.0, "failed", id="failed_call"),
        pytest.param(call(latency_s=None), 1.0, "not answered", id="missed_deadline"),
        pytest.param(call(), 1001.0, "percentile", id="slow_acks"),
    ],
)
def test_each_limit_can_be_broken(result: CallResult, p99_ms: float, word: str) -> None:
    """A limit that cannot fail is none."""
    tally = Tally()
    tally.add(result)
    assert any(word in sentence for sentence in Limits().broken(tally, p99_ms))


def test_load_without_calls_is_a_failure() -> None:
    """Nothing went wrong because nothing happened: that is no success."""
    assert Limits().broken(Tally(), 0.0) == ["no call has ended"]


def test_calls_that_never_ended_are_a_failure() -> None:
    """A call that hangs has no result that could look bad."""
    tally = Tally(started=2)
    tally.add(call())
    assert Limits().broken(tally, 0.0) == ["1 calls had not ended when the test did"]


@pytest.mark.parametrize(
    ("name", "shares"),
    [("steady", [10, 10, 10]), ("ramp", [0, 5, 10]), ("spike", [10, 40, 10]), ("soak", [5, 5, 5])],
)
def test_shapes_give_calls_per_second_over_time(name: str, shares: list[float]) -> None:
    """At the start, in the middle and at the end."""
    assert [SHAPES[name](share, 10.0) for share in (0.0, 0.5, 1.0)] == shares
