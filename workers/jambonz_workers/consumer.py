"""Reads the worker's two streams into its office: dispatch as far as there is room, the inbox always."""

import asyncio
import logging
from functools import partial
from typing import Final

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.redis.connect import Backend
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Entry as StreamEntry
from jambonz_shared.redis.streams import GroupMember, StreamReader
from jambonz_shared.redis.streams import Source as StreamSource
from jambonz_shared.runtime.patience import end_tasks
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.office import Office
from jambonz_workers.sweeper import Sweeper

log = logging.getLogger(__name__)

# A burst of new calls is shared among the workers that wait: whoever reads first must not take all of it. When more is
# there with each read, a worker has died, and its hooks wait: 64 at once instead of 4 save 0.1 s for 750 entries.
_DISPATCH_COUNT: Final = 4
_DISPATCH_MOST: Final = 64


class Consumer:
    """Turns stream entries into deliveries. Run both readers; stop ``dispatch`` first when draining."""

    def __init__(self, office: Office, sweeper: Sweeper, metrics: WorkerMetrics) -> None:
        self._office = office
        self._sweeper = sweeper
        self._metrics = metrics

    def readers(self, backend: Backend, link: Link, keys: Keys, app: str) -> tuple[StreamReader, StreamReader]:
        """Return the readers of dispatch and of the inbox, not running yet."""
        worker_id = self._office.process_id
        member = GroupMember(GROUP, worker_id, lambda: self._office.dispatcher.credits)
        inbox_key, dispatch_key = keys.inbox(worker_id), keys.dispatch(app)
        dispatch = StreamReader(
            backend.endpoint(dispatch_key),
            link,
            StreamSource(dispatch_key, member, count=_DISPATCH_COUNT, most=_DISPATCH_MOST),
            partial(self.on_entries, Source.DISPATCH),
            name="dispatch",
        )
        inbox = StreamReader(
            backend.endpoint(inbox_key),
            link,
            StreamSource(inbox_key),
            partial(self.on_entries, Source.INBOX),
            name="inbox",
        )
        return dispatch, inbox

    def on_entries(self, source: Source, entries: list[StreamEntry]) -> None:
        """Take in what a read has brought."""
        for entry_id, fields in entries:
            entry = Entry(source, entry_id, len(fields))
            if not fields:
                self._sweeper.remove(entry)
            for raw in fields:
                self._take_in(raw, entry)

    def _take_in(self, raw: bytes, entry: Entry) -> None:
        try:
            envelope = Envelope.decode(raw)
        except BadFormat as error:
            self._metrics.skipped.labels("undecodable").inc()
            log.warning("not an envelope: %s", error)
            if entry.settle():
                self._sweeper.remove(entry)
            return
        self._office.receive(Delivery(envelope, entry))


async def stop_reader(reader: StreamReader, task: "asyncio.Task[None]") -> None:
    """Stop a reader and wait until it has handed on what it got."""
    await reader.stop()
    await end_tasks([task])
