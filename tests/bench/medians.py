"""Many runs to one number each: medians, ratios, spreads. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.measure import Run


def median(values: Iterable[float]) -> float:
    """Return the middle value (the lower one of two)."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Medians:
    """The runs of one benchmark, asked by load, peer and figure."""

    runs: list[Run]

    def values(self, load: str, peer: str, figure: str) -> list[float]:
        """Return the figure of every round; empty if the peer or the load was left out."""
        return [
            run.figures[figure] for run in self.runs if (run.load, run.peer) == (load, peer) and figure in run.figures
        ]

    def get(self, load: str, peer: str, figure: str) -> float | None:
        """Return the median of the rounds, ``None`` if there was none."""
        values = self.values(load, peer, figure)
        return median(values) if values else None

    def ratio(self, load: str, figure: str, over: str, under: str) -> float | None:
        """Return how one peer's median relates to another's."""
        return divided(self.get(load, over, figure), self.get(load, under, figure))

    def roles(self, load: str, peer: str, figure: str) -> dict[str, float]:
        """Return the medians of ``figure.NAME`` by name, such as a role."""
        names = {
            name for run in self.runs if (run.load, run.peer) == (load, peer) for name in run.figures
        }  # fmt: skip
        wanted = sorted(name for name in names if name.startswith(f"{figure}."))
        return {name.split(".", 1)[1]: median(self.values(load, peer, name)) for name in wanted}


def divided(over: float | None, under: float | None) -> float | None:
    """Return the ratio, ``None`` if a part is missing or nothing can be divided by it."""
    return over / under if over is not None and under else None


def minus(first: float | None, second: float | None) -> float | None:
    """Return the difference, ``None`` if a part is missing."""
    return first - second if first is not None and second is not None else None
