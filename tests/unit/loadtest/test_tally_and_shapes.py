"""What a load test counts and when it fails, without a cluster."""

from dataclasses import replace

import pytest
from jambonz_load.shapes import SHAPES
from jambonz_load.tally import Limits, Tally, as_csv, judged, report, verdict

from jambonz_simulator.core.records import CallResult, DeadBy, HookRecord, Outcome


def call(*, kind: str = "completed", latency_s: float | None = 0.1) -> CallResult:
    acked_at_s = None if latency_s is None else 1 + latency_s
    dead_by = "timeout" if latency_s is None else None
    hook = HookRecord("m1", "verb:hook", "/menu", 1, 1.0, acked_at_s, dead_by)  # type: ignore[arg-type]
    outcome = Outcome(kind, 200)  # type: ignore[arg-type]
    return CallResult("test", "sid", "inbound", outcome, 2.0, (hook,), (), (), (), 1, 0, 0, 0)


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
    assert "all limits kept" in verdict([])
    assert "1 calls ended of 0, 0 failed" in report(tally, 100.0)


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


@pytest.mark.parametrize("dead_by", ["drop", None])
def test_hook_that_died_with_its_call_is_not_answered_in_time(dead_by: DeadBy | None) -> None:
    """It was neither acked nor missed, and counted as answered."""
    good = call()
    hook = replace(good.hooks[0], acked_at_s=None, dead_by=dead_by)
    tally = Tally()
    tally.add(replace(good, hooks=(hook,)))
    assert Limits().broken(tally, 0.0) == ["1 hooks were not answered before their call ended or lost its socket"]
    assert "0 missed, 1 unanswered" in report(tally, 0.0)
    assert "unanswered_hooks" in as_csv(tally, {})


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        pytest.param(Tally(started=600, looks=600, late_looks=6), [], id="as_asked_for"),
        pytest.param(Tally(started=600, looks=600, late_looks=7), ["no CPU left"], id="late"),
        pytest.param(Tally(started=560, looks=600), ["9.3 calls/s instead of 10"], id="too_few_calls"),
    ],
)
def test_generator_at_its_end_is_told_from_a_cluster_at_its_end(tally: Tally, words: list[str]) -> None:
    """What it measures then says nothing about the cluster, whatever the shape of the load."""
    found = Limits().of_the_generator(tally, 10.0, 60.0)
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("started", "ack_p99_ms", "found"),
    [
        pytest.param(600, 20.0, [], id="late_and_all_kept"),
        pytest.param(600, 1200.0, ["no CPU left", "99th percentile"], id="late_and_slow"),
        pytest.param(500, 20.0, ["no CPU left", "8.3 calls/s instead of 10"], id="late_and_too_few"),
    ],
)
def test_late_generator_breaks_nothing_that_is_kept(started: int, ack_p99_ms: float, found: list[str]) -> None:
    """It has seen acks later than they came: short tests on a busy machine would fail for nothing."""
    tally = Tally(started=started, calls=started, looks=600, late_looks=60)
    sentences = judged(tally, Limits(), ack_p99_ms, asked_per_s=10.0, seconds=60.0)
    assert len(sentences) == len(found)
    assert all(word in sentence for word, sentence in zip(found, sentences, strict=True))


def test_generator_on_a_shared_machine_is_allowed_more() -> None:
    """Whoever asks for it: the host takes the processor away, and neither cluster nor generator can help it."""
    tally = Tally(started=400, calls=400, looks=600, late_looks=60)
    assert Limits(late_share=0.1, started_share=0.6).of_the_generator(tally, 10.0, 60.0) == []
    assert judged(tally, Limits(started_share=0.6), 20.0, asked_per_s=10.0, seconds=60.0) == []


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
    [("steady", [10, 10, 10]), ("spike", [10, 40, 10]), ("soak", [5, 5, 5])],
)
def test_shapes_give_calls_per_second_over_time(name: str, shares: list[float]) -> None:
    """At the start, in the middle and at the end."""
    assert [SHAPES[name](share, 10.0) for share in (0.0, 0.5, 1.0)] == shares


def test_table_has_all_counts_the_percentiles_and_the_margin() -> None:
    """What the console says at the end, for a spreadsheet."""
    tally = Tally(started=1)
    tally.add(call(latency_s=0.25))
    names, values = as_csv(tally, {"ack_p99_ms": 250.0}).splitlines()
    row = dict(zip(names.split(","), values.split(","), strict=True))
    assert row["ack_p99_ms"] == "250"
    assert (row["calls"], row["hooks"], row["deadline_misses"], row["out_of_order"]) == ("1", "1", "0", "0")
    assert (row["worst_ack_ms"], row["margin_ms"]) == ("250", "4750")


def test_counts_since_a_moment_leave_out_what_was_before() -> None:
    """A step of a ramp is judged by its own calls."""
    tally = Tally(started=5, calls=3, hooks=9)
    before = Tally(started=2, calls=1, hooks=4)
    assert tally.since(before) == Tally(started=3, calls=2, hooks=5)
