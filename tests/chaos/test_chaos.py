"""A short storm with a fixed seed; `make chaos SECONDS=600 SEED=7` for longer ones."""

from pathlib import Path

import pytest

from tests.chaos.storm import Storm, run

SEED = 6


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_storm_breaks_no_invariant(tmp_path: Path) -> None:
    """Calls, hooks, events and commands survive kills, freezes, roll-outs and broken networks."""
    storm = Storm(seconds=40.0, seed=SEED)
    findings = await run(storm, tmp_path, print)
    assert findings.counts["calls"] > 100
    assert not findings.violations, f"seed {SEED}: {findings.violations[:10]}"
