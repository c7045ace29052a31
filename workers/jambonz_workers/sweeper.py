"""Deletes stream entries whose envelopes are done, many at a time."""

import asyncio
from typing import Final

from jambonz_shared.keys import GROUP
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.outbox import Outbox

# Nobody waits for a deletion: an entry that comes again is known by its number (P3). So it need not cost a wake-up of
# Redis and one of ours per event, only be soon enough that an adopter does not find much that is done.
_LATER_S: Final = 0.02
_ENTRIES_MAX: Final = 100


class Sweeper:
    """Deleting is acknowledging: what is left in a stream has not been handled."""

    def __init__(self, outbox: Outbox, inbox_key: str, dispatch_key: str) -> None:
        self._outbox = outbox
        self._inbox_key = inbox_key
        self._dispatch_key = dispatch_key
        self._loop = asyncio.get_running_loop()
        self._ids: dict[Source, list[bytes]] = {Source.INBOX: [], Source.DISPATCH: []}
        self._timer: asyncio.TimerHandle | None = None

    def settle(self, delivery: Delivery) -> None:
        """Count one envelope as done; may be repeated."""
        if delivery.settle():
            self.remove(delivery.entry)

    def remove(self, entry: Entry) -> None:
        """Delete an entry soon, with others."""
        ids = self._ids[entry.source]
        ids.append(entry.id)
        if self._timer is None:
            self._timer = self._loop.call_later(_LATER_S, self.flush)
        elif len(ids) >= _ENTRIES_MAX:
            self.flush()

    def flush(self) -> None:
        """Delete now what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        inbox, dispatch = self._ids[Source.INBOX], self._ids[Source.DISPATCH]
        if inbox:
            self._ids[Source.INBOX] = []
            self._outbox.send(_ignore, b"XDEL", self._inbox_key, *inbox)
        if dispatch:
            self._ids[Source.DISPATCH] = []
            self._outbox.send(_ignore, b"XACK", self._dispatch_key, GROUP, *dispatch)
            self._outbox.send(_ignore, b"XDEL", self._dispatch_key, *dispatch)


def _ignore(_: object) -> None:
    """An entry or a stream that is gone (Redis lost its data, the inbox was adopted) needs no deletion."""
