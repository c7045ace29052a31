"""How the costs have moved since the committed baseline. It shows, it never fails: machines are noisy.

CPU per event relative to the bare server, measured in the same run, is what a slower or busier machine changes least.
"""

import json
from pathlib import Path
from typing import Final

from tests.bench.medians import Medians
from tests.bench.plan import BARE
from tests.bench.report import table

BASELINE: Final = Path(__file__).resolve().parent / "baseline.json"
# Two runs of the same code differ by about a tenth on a shared machine.
NOTABLE: Final = 0.15


def ratios(found: Medians) -> dict[str, dict[str, float]]:
    """Return CPU per event relative to the bare server, by load and peer, roles apart."""
    kept: dict[str, dict[str, float]] = {}
    for load, peer in dict.fromkeys((run.load, run.peer) for run in found.runs):
        bare_us = found.get(load, BARE, "cpu_us")
        own_us = found.get(load, peer, "cpu_us")
        if peer == BARE or not bare_us or own_us is None:
            continue
        by_name = kept.setdefault(load, {})
        by_name[peer] = round(own_us / bare_us, 3)
        for role, value in found.roles(load, peer, "cpu_us").items():
            by_name[f"{peer}, {role}"] = round(value / bare_us, 3)
    return kept


def drift_table(found: Medians, before: dict[str, dict[str, float]]) -> str:
    """Return what each ratio was and is; notable changes are marked."""
    rows = []
    for load, by_name in ratios(found).items():
        for name, now in by_name.items():
            if was := before.get(load, {}).get(name):
                change = now / was - 1
                rows.append(
                    (load, name, f"{was:.2f}", f"{now:.2f}", f"{change:+.0%}{' !' if abs(change) > NOTABLE else ''}")
                )
    return (
        table(("load", "CPU per event / bare", "baseline", "now", "change"), rows) if rows else "no baseline for these"
    )


def read_baseline(path: Path = BASELINE) -> dict[str, dict[str, float]]:
    """Return the committed baseline, empty if there is none."""
    if not path.exists():
        return {}
    kept: dict[str, dict[str, float]] = json.loads(path.read_text())["cpu_ratios"]
    return kept


def write_baseline(found: Medians, about: dict[str, str], path: Path = BASELINE) -> None:
    """Make this run the baseline."""
    path.write_text(json.dumps({"about": about, "cpu_ratios": ratios(found)}, indent=2) + "\n")
