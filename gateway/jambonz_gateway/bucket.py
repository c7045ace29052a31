"""A token bucket: how long a peer that talks too much is not listened to. Pure."""

from typing import Final


class Bucket:
    """Allows ``rate`` tokens per second for any length of time, and ``burst`` of them at once."""

    __slots__ = ("_at_s", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate: Final = rate
        self._burst: Final = burst
        self._tokens = burst
        self._at_s = now_s

    def take(self, now_s: float, cost: float = 1.0) -> float:
        """Count so many tokens, a burst at most, and return how many seconds to wait; 0 while there is room."""
        tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate) - min(cost, self._burst)
        self._at_s = now_s
        self._tokens = tokens
        return 0.0 if tokens >= 0 else -tokens / self._rate

    def give_back(self) -> None:
        """Take back the token that the last ``take`` has counted."""
        self._tokens += 1

    def has_room(self, now_s: float) -> bool:
        """Count one token if there is room for it now, and tell whether there was."""
        if self.take(now_s) > 0:
            self.give_back()
            return False
        return True

    def is_full(self, now_s: float) -> bool:
        """Tell whether a whole burst could be taken now."""
        return self._tokens + (now_s - self._at_s) * self._rate >= self._burst
