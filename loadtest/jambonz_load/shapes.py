"""How many calls per second come, over the time of a test; the ramp has a module of its own. Pure."""

from collections.abc import Callable
from typing import Final

Shape = Callable[[float, float], float]
"""From the share of the test that is over (0 to 1) and the calls per second asked for, to those of this moment."""

# A tenth of the time at four times the rate.
SPIKE_STARTS: Final = 0.45
SPIKE_ENDS: Final = 0.55
SPIKE_FACTOR: Final = 4.0


def steady(_: float, per_s: float) -> float:
    """As many all the time."""
    return per_s


def spike(share: float, per_s: float) -> float:
    """A burst in the middle."""
    return per_s * SPIKE_FACTOR if SPIKE_STARTS <= share < SPIKE_ENDS else per_s


def soak(_: float, per_s: float) -> float:
    """Half of it, for long tests: what leaks shows, and nothing is at its limit."""
    return per_s / 2


SHAPES: Final[dict[str, Shape]] = {"steady": steady, "spike": spike, "soak": soak}
