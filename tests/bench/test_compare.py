"""The benchmark runs, and nobody is forgotten under load; its timing is not asserted, machines are noisy."""

from pathlib import Path

import pytest

from tests.bench.compare import Load, measure
from tests.bench.peers import WholeCluster, bare


@pytest.mark.long
async def test_every_hook_is_answered_under_saturation_by_us_and_by_the_bound(tmp_path: Path) -> None:
    """A closed loop stands still as soon as one ack is missing."""
    load = Load("quick", 64, 2.0)
    for peer in (bare(), WholeCluster(tmp_path / "cluster")):
        figures = await measure(peer, load)
        assert figures.lost_calls == 0
        assert figures.events_per_s > 100, "the loop stands still"
        assert 0 < figures.cpu_us < 100_000
