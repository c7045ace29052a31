"""How long to wait before something that failed is tried again. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double with each failure in a row.

    Attributes:
        first_s: Pause after the first failure.
        most_s: No pause is longer.
        healthy_s: Whatever lived this long before it failed starts at the first pause again.
    """

    first_s: float = 0.1
    most_s: float = 10.0
    healthy_s: float = 30.0

    def failures_after(self, failures: int, lived_s: float) -> int:
        """Return the failures in a row, this one included, after something lived so long and failed."""
        return 1 if lived_s >= self.healthy_s else failures + 1

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row."""
        # 2 ** 30 is beyond any pause; without a cap the power would overflow a float one day.
        return min(self.most_s, self.first_s * 2.0 ** min(max(failures - 1, 0), 30))
