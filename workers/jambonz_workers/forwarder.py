"""Hands envelopes to another worker: the call's owner, or whoever takes them from dispatch."""

import asyncio
import logging
from functools import partial
from typing import Any, Final

from jambonz_shared.redis import script
from jambonz_shared.redis.scripts import CallKeys, orphan_args
from jambonz_workers.delivery import Delivery
from jambonz_workers.outbox import Outbox
from jambonz_workers.sweeper import Sweeper
from jambonz_workers.terms import Terms

log = logging.getLogger(__name__)

# An envelope whose owner's inbox is gone waits for somebody to adopt that owner's calls; without the pause it
# would run in circles between dispatch and the workers. A crash is known after 75 to 100 ms (ADR 0006).
_PAUSE_S: Final = 0.05
# An owner that is not among the workers for so long has lost its calls, though nobody has adopted them. After Redis has
# lost its data workers need up to a second to come back, and have the state of their calls in memory.
_VANISHED_S: Final = 5.0


class Forwarder:
    """Forwards envelopes; each is settled here once it is written there: it may arrive twice, but is never lost."""

    def __init__(self, terms: Terms, outbox: Outbox, sweeper: Sweeper) -> None:
        self._terms = terms
        self._outbox = outbox
        self._sweeper = sweeper
        self._loop = asyncio.get_running_loop()
        # Loop time since when an owner is not among the workers.
        self._absent_since_s: dict[str, float] = {}

    def forward(self, worker_id: str, delivery: Delivery, app: str = "") -> None:
        """Hand an envelope to a worker; to dispatch, of ``app`` or of ours, if ``worker_id`` is empty or gone."""
        self._terms.metrics.forwarded.inc()
        if not worker_id or worker_id == self._terms.process_id:
            self._to_dispatch(delivery, app)
            return
        inbox = self._terms.keys.inbox(worker_id)
        answered = partial(self._answered, worker_id, delivery)
        self._outbox.send(answered, b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", delivery.envelope.encode())

    def _to_dispatch(self, delivery: Delivery, app: str = "") -> None:
        dispatch = self._terms.keys.dispatch(app or self._terms.app)
        written = partial(self._written, delivery)
        self._outbox.send(written, b"XADD", dispatch, b"*", b"e", delivery.envelope.encode())

    def _answered(self, worker_id: str, delivery: Delivery, reply: Any) -> None:
        if reply is None or isinstance(reply, Exception):
            looked = partial(self._looked, worker_id, delivery)
            self._outbox.send(looked, b"ZSCORE", self._terms.keys.workers, worker_id)
        else:
            self._sweeper.settle(delivery)

    def _looked(self, worker_id: str, delivery: Delivery, reply: Any) -> None:
        """Take the call from an owner that nobody watches any more, and so nobody adopts."""
        if reply is not None:
            self._absent_since_s.pop(worker_id, None)
        elif self._loop.time() - self._absent_since_s.setdefault(worker_id, self._loop.time()) > _VANISHED_S:
            call = CallKeys.of(self._terms.keys, delivery.envelope.call_sid)
            self._outbox.script(_ignore, script.ORPHAN, *orphan_args(call, worker_id))
        self._loop.call_later(_PAUSE_S, self._to_dispatch, delivery)

    def _written(self, delivery: Delivery, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._terms.metrics.failures.inc()
            why = getattr(reply, "code", type(reply).__name__)
            log.error("an event could not be forwarded", extra={"call_sid": delivery.envelope.call_sid, "why": why})
        self._sweeper.settle(delivery)


def _ignore(_: object) -> None:
    """The envelope comes again, and with it the answer."""
