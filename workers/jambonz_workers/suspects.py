"""Runs the events over which workers have died so that the one that kills can be told from those that were there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_workers.handling import OnCommitted
from jambonz_workers.outbox import Outbox
from jambonz_workers.presence import OWNED_TTL_MS
from jambonz_workers.redelivery import mark_of

# After one death every event that was under way is a suspect, hundreds perhaps, and nearly all are innocent: they run
# side by side. Those that were begun in a second worker that died run one at a time, and the guilty one is found.
_ALONE_FROM_DEATHS: Final = 2

Run = Callable[[OnCommitted], Awaitable[None]]


class Suspects:
    """Writes down each suspect before it runs, and strikes it out when its effects are committed."""

    def __init__(self, outbox: Outbox, key: str) -> None:
        self._outbox: Final = outbox
        self._key: Final = key
        self._alone: Final = asyncio.Lock()

    async def run(self, envelope: Envelope, run: Run, on_committed: OnCommitted) -> None:
        """Do as ``run(on_committed)``, in the suspect's turn; may be cancelled as that may."""
        is_alone = envelope.deaths >= _ALONE_FROM_DEATHS
        if is_alone:
            await self._alone.acquire()
        turn = _Turn(lambda: self._struck_out(envelope, is_alone=is_alone))

        def committed(error: ClusterError | None) -> None:
            turn.end()
            on_committed(error)

        try:
            self._outbox.send(_ignore, b"SADD", self._key, mark_of(envelope))
            # Awaited with it: a handler that kills this process would leave a key without an end.
            await self._outbox.call(b"PEXPIRE", self._key, OWNED_TTL_MS)
            await run(committed)
        except BaseException:
            turn.end()
            raise

    def _struck_out(self, envelope: Envelope, *, is_alone: bool) -> None:
        self._outbox.send(_ignore, b"SREM", self._key, mark_of(envelope))
        if is_alone:
            self._alone.release()


class _Turn:
    """Ends once, whoever says so first: the commit, or the cancellation of the handler."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end: Final = on_end
        self._has_ended = False

    def end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end()


def _ignore(_: object) -> None:
    """What matters is that it is written before what follows."""
