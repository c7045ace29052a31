"""Hands envelopes to another worker: the call's owner, or whoever takes them from dispatch."""

import asyncio
import logging
from functools import partial
from typing import Any, Final

from jambonz_workers.delivery import Delivery
from jambonz_workers.outbox import Outbox
from jambonz_workers.sweeper import Sweeper
from jambonz_workers.terms import Terms

log = logging.getLogger(__name__)

# An envelope whose owner's inbox is gone waits for somebody to adopt that owner's calls; without the pause it
# would run in circles between dispatch and the workers. A crash is adopted within 20 ms (DESIGN.md section 4).
_PAUSE_S: Final = 0.05


class Forwarder:
    """Forwards envelopes; each is settled here once it is written there: it may arrive twice, but is never lost."""

    def __init__(self, terms: Terms, outbox: Outbox, sweeper: Sweeper) -> None:
        self._terms = terms
        self._outbox = outbox
        self._sweeper = sweeper
        self._loop = asyncio.get_running_loop()

    def forward(self, worker_id: str, delivery: Delivery) -> None:
        """Hand an envelope to a worker; to dispatch if ``worker_id`` is empty or that worker is gone."""
        self._terms.metrics.forwarded.inc()
        if not worker_id or worker_id == self._terms.process_id:
            self._to_dispatch(delivery)
            return
        inbox = self._terms.keys.inbox(worker_id)
        answered = partial(self._answered, delivery)
        self._outbox.send(answered, b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", delivery.envelope.encode())

    def _to_dispatch(self, delivery: Delivery) -> None:
        dispatch = self._terms.keys.dispatch(self._terms.app)
        written = partial(self._written, delivery)
        self._outbox.send(written, b"XADD", dispatch, b"*", b"e", delivery.envelope.encode())

    def _answered(self, delivery: Delivery, reply: Any) -> None:
        if reply is None or isinstance(reply, Exception):
            self._loop.call_later(_PAUSE_S, self._to_dispatch, delivery)
        else:
            self._sweeper.settle(delivery)

    def _written(self, delivery: Delivery, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.error("an event could not be forwarded", exc_info=reply)
        self._sweeper.settle(delivery)
