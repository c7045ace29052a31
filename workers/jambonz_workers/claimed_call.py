"""What Redis knows of a call when a worker claims it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from jambonz_shared.redis.scripts import CallRecord
from jambonz_workers.facts import decode_facts

SINCE: Final = "@since"
"""Field of the call state: from which epoch on, and above which fence, the call is this app's (attach.lua)."""

# Of a call that was never transferred: epochs and fences begin at 1.
_EVER: Final = b'{"epoch":1,"fence":0}'


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

    @property
    def has_begun(self) -> bool:
        """Whether an owner of this app has committed something of its own.

        Of a call that was transferred to it, that is neither what was committed before, nor events of the older
        Connections: their statuses come here as well, also before the ``session:redirect`` that begins the call.
        """
        since = orjson.loads(self.state.get(SINCE, _EVER))
        # Effects outside of events are counted under their owner's fence, below zero.
        return any(series >= since["epoch"] or -series > since["fence"] for series in self.committed)
