"""Deletes stream entries whose envelopes are done, once per loop tick."""

import asyncio

from jambonz_shared.keys import GROUP
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.outbox import Outbox


class Sweeper:
    """Deleting is acknowledging: what is left in a stream has not been handled."""

    def __init__(self, outbox: Outbox, inbox_key: str, dispatch_key: str) -> None:
        self._outbox = outbox
        self._inbox_key = inbox_key
        self._dispatch_key = dispatch_key
        self._loop = asyncio.get_running_loop()
        self._ids: dict[Source, list[bytes]] = {Source.INBOX: [], Source.DISPATCH: []}
        self._is_scheduled = False

    def settle(self, delivery: Delivery) -> None:
        """Count one envelope as done; may be repeated."""
        if delivery.settle():
            self.remove(delivery.entry)

    def remove(self, entry: Entry) -> None:
        """Delete an entry with the others of this loop tick."""
        self._ids[entry.source].append(entry.id)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Delete now what has been gathered."""
        self._is_scheduled = False
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
