"""How long jambonz waits for what. Pure: numbers with their sources."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """The protocol's own times, in seconds; verbs and callers have `Script` and ``speed`` instead.

    Attributes:
        ack_timeout_s: A hook without an ack is given up after it (PROTOCOL.md 2.3).
        handshake_timeout_s: From the request to the 101 (PROTOCOL.md 1.1).
        first_backoff_s: Delay before the first repeated connect; doubled below 2 s, then
            2 s longer each time, never reset in a call's life (PROTOCOL.md 1.4).
        backoff_step_s: What the delay grows by from four times the first one on.
        gate_s: How long after the ack of an inbound session:new the call session, which
            listens for commands, does not exist yet (PROTOCOL.md 2.4; the length is a model).
        end_delay_s: From the final call:status to the close (10 ms in the recordings).
        failed_dial_close_s: From the status of a failed outbound call to the close
            (PROTOCOL.md 2.10).
    """

    ack_timeout_s: float = 5.0
    handshake_timeout_s: float = 1.5
    first_backoff_s: float = 0.5
    backoff_step_s: float = 2.0
    gate_s: float = 0.002
    end_delay_s: float = 0.010
    failed_dial_close_s: float = 5.0

    def scaled(self, factor: float) -> "Timing":
        """Give the same times multiplied by ``factor``, the gate left as it is."""
        return replace(
            self,
            ack_timeout_s=self.ack_timeout_s * factor,
            handshake_timeout_s=self.handshake_timeout_s * factor,
            first_backoff_s=self.first_backoff_s * factor,
            backoff_step_s=self.backoff_step_s * factor,
            end_delay_s=self.end_delay_s * factor,
            failed_dial_close_s=self.failed_dial_close_s * factor,
        )

    def next_backoff_s(self, backoff_s: float) -> float:
        """Give the delay that follows ``backoff_s``: 0.5, 1, 2, 4, 6, 8, 10 ... (PROTOCOL.md 1.4)."""
        if backoff_s < 4 * self.first_backoff_s:
            return backoff_s * 2
        return backoff_s + self.backoff_step_s


JAMBONZ_TIMING: Final = Timing()

# jambonz closes the socket with 1009 on a message over it, after inflate and over all fragments
# (PROTOCOL.md 1.1; JAMBONES_WS_MAX_PAYLOAD).
MAX_FRAME_BYTES: Final = 24_576

# The default of the `rc` option: sockets in a call's life (PROTOCOL.md 1.4, 1.5).
MAX_SOCKETS: Final = 5
