"""Percentiles, and the lines in which tests report what they measured."""

import os
from collections.abc import Iterable, Mapping

import click


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    assert ordered, "nothing was measured"
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Iterable[float]) -> str:
    """Return p50, p99 and the worst of some seconds, in words."""
    found = list(values)
    if not found:
        return "none"
    p50, p99 = percentile(found, 50), percentile(found, 99)
    return f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {max(found) * 1000:.0f} ms of {len(found)}"


def report(title: str, figures: Mapping[str, object]) -> None:
    """Print figures, one line each; `pytest -s` shows them."""
    click.echo(f"\n{title}")
    for name, value in figures.items():
        click.echo(f"  {name}: {value}")


def calls(default: int) -> int:
    """Return how many calls a scenario plays: few in CI, as many as ``CALLS`` says for docs/benchmarks."""
    return int(os.environ.get("CALLS", default))
