"""Numbers of a run by name, and percentiles. No I/O."""

import math

Figures = dict[str, float]

_PARTS = {"p50_s": 0.5, "p99_s": 0.99, "p999_s": 0.999, "max_s": 1.0}


def percentiles(prefix: str, values: list[float]) -> Figures:
    """Return p50, p99, p99.9 and the largest of sorted values, in their unit."""
    return {f"{prefix}{name}": percentile(values, part) for name, part in _PARTS.items()}


def percentile(values: list[float], part: float) -> float:
    """Return the value below which that part of the sorted values lies; not a number if there are none."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else math.nan
