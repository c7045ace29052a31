"""What the hot path counts, and the metrics that are made of it."""

import pytest
from prometheus_client import generate_latest

from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.tally import BUCKETS_S, Tally


@pytest.mark.parametrize(
    ("took_s", "bucket"),
    [
        pytest.param(0.0, 0, id="at_once"),
        pytest.param(0.001, 0, id="as_long_as_the_first_limit"),
        pytest.param(0.0011, 1, id="above_the_first_limit"),
        pytest.param(10.0, len(BUCKETS_S) - 1, id="as_long_as_the_last_limit"),
        pytest.param(10.1, len(BUCKETS_S), id="above_all_limits"),
    ],
)
def test_a_run_is_counted_below_the_next_limit(took_s: float, bucket: int) -> None:
    """As Prometheus means it: a bucket holds what takes as long as its limit, too."""
    tally = Tally()
    tally.handler(took_s)
    assert [at for at, count in enumerate(tally.handlers) if count] == [bucket]
    assert tally.handlers_s == took_s


def test_kinds_that_nobody_knows_are_counted_as_one() -> None:
    """Labels have few values, whatever a future jambonz sends; our own kinds are few, too."""
    tally = Tally()
    for kind in ("verb:hook", "cluster:timer", "new:kind", "newer:kind", "verb:hook"):
        tally.event(kind)
    assert tally.events == {"verb:hook": 2, "cluster:timer": 1, "other": 2}


def test_metrics_are_made_of_the_tally_when_asked_for() -> None:
    """Buckets of Prometheus hold all that are below, too."""
    metrics = WorkerMetrics()
    metrics.tally.event("verb:hook")
    metrics.tally.commit("ok")
    metrics.tally.commit("ok")
    metrics.tally.handler(0.0005)
    metrics.tally.handler(0.25)
    lines = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        'jambonz_worker_events_total{kind="verb:hook"} 1.0',
        'jambonz_worker_commits_total{result="ok"} 2.0',
        'jambonz_worker_handler_seconds_bucket{le="0.1"} 1.0',
        'jambonz_worker_handler_seconds_bucket{le="0.5"} 2.0',
        'jambonz_worker_handler_seconds_bucket{le="+Inf"} 2.0',
        "jambonz_worker_handler_seconds_sum 0.2505",
    ):
        assert line in lines
