"""Runs become medians, ratios, goals and a report; what was not measured is said so."""

import json
from pathlib import Path

import pytest

from tests.bench import drift, plan
from tests.bench.goals import Goal, goals
from tests.bench.loads import Kind, Load
from tests.bench.measure import Run, derived
from tests.bench.medians import Medians
from tests.bench.peers import Snapshot
from tests.bench.plan import BARE, CLUSTER
from tests.bench.redis_keys import family_of
from tests.bench.report import goal_table, harm_of, keys_table, redis_table, tables

STEP = plan.quick()[0]


def run(peer: str, cpu_us: float, **more: float) -> Run:
    """Return a run at saturation."""
    figures = {"events": 10.0, "events_per_s": 1e6 / cpu_us, "cpu_us": cpu_us, "cpu_us.server": cpu_us, "p50_ms": 1.0}
    return Run(peer, STEP.load.name, {**figures, "generator_share": 0.4, **more})


def looked(cpu_s: float, rss_bytes: int) -> Snapshot:
    """Return a look at a server."""
    return Snapshot({"server": cpu_s}, {"server": rss_bytes}, {})


def test_ratio_is_of_medians() -> None:
    """One bad round must not decide."""
    found = Medians([run(BARE, 10.0), *(run(CLUSTER, us) for us in (12.0, 90.0, 13.0))])
    assert found.get("saturation", CLUSTER, "cpu_us") == 13.0
    assert found.ratio("saturation", "cpu_us", CLUSTER, BARE) == pytest.approx(1.3)
    assert found.ratio("saturation", "cpu_us", CLUSTER, "a peer that was skipped") is None


def test_goal_is_met_or_not_or_not_measured() -> None:
    """A peer that could not be had is no success."""
    found = {goal.measure: goal.is_met for goal in goals(Medians([run(BARE, 10.0), run(CLUSTER, 12.5)]))}
    assert found["CPU per event / bare"] is True
    assert found["events/s / bare"] is False
    assert found["CPU per event / Node SDK"] is None


def test_bound_itself_meets_a_goal() -> None:
    """At least and at most include the bound."""
    assert Goal("m", 1.0, 1.0).is_met
    assert Goal("m", 1.0, 1.0, is_floor=True).is_met
    assert not Goal("m", 1.1, 1.0).is_met
    assert not Goal("m", 0.9, 1.0, is_floor=True).is_met


def test_report_marks_a_generator_that_takes_too_much() -> None:
    """Such a run measures the generator, too."""
    found = Medians([run(BARE, 10.0), run(CLUSTER, 20.0, generator_share=0.2)])
    lines = tables([STEP], found).splitlines()
    assert next(line for line in lines if BARE in line).rstrip(" |").endswith("40% !")
    assert next(line for line in lines if CLUSTER in line).rstrip(" |").endswith("20%")
    assert "| met " in goal_table(found) or "NOT MET" in goal_table(found)


def test_lost_ack_is_told() -> None:
    """It is the one thing that fails a benchmark."""
    assert harm_of(Medians([run(CLUSTER, 1.0, unanswered=2.0)])) == [f"{CLUSTER}, saturation: 2 hooks without an ack"]
    assert harm_of(Medians([run(CLUSTER, 1.0, events=0.0)]))
    assert not harm_of(Medians([run(CLUSTER, 1.0, unanswered=0.0)]))


def test_cpu_is_counted_per_event_of_the_window() -> None:
    """Notices are events, too."""
    load = Load("x", "x", Kind.CLOSED, 1, 2.0, has_notices=True)
    raw = {"acks": 1000, "seconds": 2.0, "generator_cpu_s": 0.01, "p50_s": 0.001}
    figures = derived(load, raw, {"begin": looked(1.0, 0), "end": looked(1.1, 0)})
    assert figures["cpu_us"] == pytest.approx(50.0)
    assert figures["events_per_s"] == 1000
    assert figures["generator_share"] == pytest.approx(0.1)
    assert figures["p50_ms"] == 1.0


def test_memory_of_a_call_is_the_slope() -> None:
    """What an empty process holds is not a call's."""
    load = Load("x", "x", Kind.IDLE, 1500, 10.0, few_calls=500)
    looks = {
        "few": looked(1.0, 50_000_000),
        "set-up-begin": looked(1.0, 0),
        "set-up-end": looked(1.2, 0),
        "many": looked(1.2, 58_000_000),
        "begin": looked(2.0, 0),
        "end": looked(2.5, 0),
    }
    figures = derived(load, {"seconds": 10.0, "set_up_per_s": 100.0}, looks)
    assert figures["memory_bytes.server"] == 8000
    assert figures["set_up_cpu_us.server"] == pytest.approx(200.0)
    assert figures["idle_cpu_share.server"] == pytest.approx(0.05)


def test_drift_is_shown_against_the_baseline(tmp_path: Path) -> None:
    """A notable change is marked; the bound itself is the measure."""
    before, after = (Medians([run(BARE, 10.0), run(CLUSTER, us)]) for us in (10.0, 13.0))
    drift.write_baseline(before, {"when": "then"}, tmp_path / "baseline.json")
    assert json.loads((tmp_path / "baseline.json").read_text())["about"] == {"when": "then"}
    kept = drift.read_baseline(tmp_path / "baseline.json")
    assert "+30% !" in drift.drift_table(after, kept)
    assert "+0%" in drift.drift_table(before, kept)


def test_each_step_names_peers_and_loads_that_exist(tmp_path: Path) -> None:
    """A typing error would be found after half an hour only."""
    peers = plan.peers(tmp_path, "python")
    for step in [*plan.full(1.0, 1), *plan.quick()]:
        assert set(step.peers) <= set(peers)
        assert Load.from_json(step.load.to_json()) == step.load


def test_rate_at_which_one_redis_is_full_follows_from_its_cpu() -> None:
    """It runs commands on one core: 20 us per event are 50,000 events a second."""
    more = {"cpu_us.redis": 20.0, "redis_commands": 4.0, "redis_bytes_in": 900.0, "redis_bytes_out": 800.0}
    shown = redis_table(Medians([run(BARE, 10.0), run(CLUSTER, 30.0, **more)]))
    assert "50,000" in shown
    assert BARE not in shown


def test_keys_of_an_idle_call_are_listed_by_family() -> None:
    """What weighs nothing per call is left out."""
    figures = {"redis_keys.jc:call": 1.0, "redis_key_bytes.jc:call": 1200.0, "redis_key_bytes.jc:apps": 0.01}
    shown = keys_table(Medians([Run(CLUSTER, "storm", figures)]))
    assert "1,200" in shown
    assert "jc:apps" not in shown


@pytest.mark.parametrize(
    ("key", "family"), [("jc:call:{c1}", "jc:call"), ("jc:workers", "jc:workers"), ("other", "other")]
)
def test_keys_are_counted_by_what_they_are_of(key: str, family: str) -> None:
    """A call_sid is no family."""
    assert family_of(key) == family
