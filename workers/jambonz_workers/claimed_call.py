"""What Redis knows of a call when a worker claims it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from jambonz_shared.redis.scripts import CallRecord
from jambonz_workers.facts import decode_facts


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

    @classmethod
    def of(cls, fence: int, record: CallRecord) -> Self:
        """Return what the answer to a claim tells."""
        facts = decode_facts(record.facts)
        return cls(fence, record.app, record.path, record.status, facts, record.state, record.committed)
