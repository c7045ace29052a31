"""Events that a worker drops: deleted, counted, and told of once in a while."""

import pytest

from jambonz_shared.envelope import Envelope
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.dispatcher import Shed
from jambonz_workers.losses import Losses
from jambonz_workers.metrics import WorkerMetrics


class SweeperDouble:
    """Stands in for the sweeper, which talks to Redis."""

    def __init__(self) -> None:
        self.settled: list[Delivery] = []

    def settle(self, delivery: Delivery) -> None:
        self.settled.append(delivery)


def shed(count: int, call_sid: str = "c1") -> Shed:
    envelope = Envelope(call_sid, 1, 1, "verb:status", "", 0, "g1", is_acked=False, body=b'{"secret":1}')
    return Shed(call_sid, [Delivery(envelope, Entry(Source.INBOX, b"1-0", 1)) for _ in range(count)])


def test_losses_are_all_counted_and_told_once_per_second(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever floods a worker must not fill its log either."""
    sweeper, metrics, clock = SweeperDouble(), WorkerMetrics(), [5.0]
    losses = Losses(sweeper, metrics, lambda: clock[0])  # type: ignore[arg-type]
    for at_s, call_sid in ((5.0, "c1"), (5.9, "c2"), (6.1, "c3")):
        clock[0] = at_s
        losses.let_go(shed(3, call_sid))
    assert len(sweeper.settled) == 9
    assert metrics.registry.get_sample_value("jambonz_worker_skipped_total", {"reason": "dropped"}) == 9
    assert [(it.__dict__["call_sid"], it.__dict__["events"]) for it in caplog.records] == [("c1", 3), ("c3", 3)]
    assert "secret" not in caplog.text


def test_a_worker_that_has_lost_nothing_says_so() -> None:
    """A counter that appears with its first loss has no increase, and the alert would be silent."""
    assert WorkerMetrics().registry.get_sample_value("jambonz_worker_skipped_total", {"reason": "dropped"}) == 0
