"""What is put on a server: the loads, in words both the starter and the generator use."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """How a load works."""

    CLOSED = "closed"  # each ack is answered by the next hook
    OPEN = "open"  # hooks go out at a fixed rate, whatever the server does
    CHURN = "churn"  # short calls: handshake, session:new, one hook, close
    IDLE = "idle"  # calls that say nothing; then all sockets break at once and reconnect


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Attributes:
        name: Short, for files; ``title`` is for people.
        calls: Calls that live. Of a churn: how many at a time.
        in_flight: Hooks on their way at a time, over all calls (closed loop); 0 is one for each call.
        rate: Hooks per second (open model).
        has_notices: Whether a notice goes before each hook; it counts as an event.
        few_calls: Idle: how many are there at the first look; the slope from there to ``calls`` is the cost of a call.
        storm_calls: Idle: how many sockets break at once at the end.
    """

    name: str
    title: str
    kind: Kind
    calls: int
    seconds: float
    warmup_s: float = 1.5
    in_flight: int = 0
    rate: float = 0.0
    has_notices: bool = False
    few_calls: int = 0
    storm_calls: int = 0

    def to_json(self) -> str:
        """Return it for the generator's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "kind": Kind(fields["kind"])})
