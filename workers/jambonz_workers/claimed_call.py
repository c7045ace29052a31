"""What Redis knows of a call when a worker claims it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ClaimedCall:
    """What Redis knows of a call when it is claimed; ``committed`` is the highest event done, by epoch."""

    fence: int
    app: str = ""
    path: str = ""
    status: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, bytes] = field(default_factory=dict)
    committed: Mapping[int, int] = field(default_factory=dict)
