"""What holds for all calls of a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jambonz_shared.keys import Keys
from jambonz_workers.capabilities import Target
from jambonz_workers.environment import Declared
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.verbs import Verbs


@dataclass(frozen=True, slots=True)
class Terms:
    """Names, limits and the metrics of one worker.

    Attributes:
        process_id: The worker's own id.
        app: Name of the app.
        call_ttl_ms: How long the keys of a call live after its last commit.
        grace_s: How long a call outlives its last Connection.
        on_room: Called when there may be room for a call more.
        target: The line of jambonz that the app is made for.
        environment: Environment variables that the app declares.
        validate: Raises ``InvalidVerbs`` of what jambonz would refuse; called with all verbs before they are sent.
    """

    process_id: str
    app: str
    keys: Keys
    call_ttl_ms: int
    grace_s: float
    metrics: WorkerMetrics
    on_room: Callable[[], None]
    target: Target | None = None
    environment: Declared = field(default_factory=dict)
    validate: Callable[[Verbs], None] | None = None
