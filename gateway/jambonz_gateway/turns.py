"""Handshakes in turn: thousands at once, after the death of another gateway, must not hold up the calls that live."""

import asyncio
from typing import Final, Protocol

# A handshake costs a third of a millisecond or more. So many of them, and everything else gets its chance: hooks that
# are owed an ack, and the heartbeat without which workers take this process for dead.
_PER_TURN: Final = 16


class Arriving(Protocol):
    """Something that waits for its turn."""

    def arrive(self) -> None:
        """Go on; costs nothing if its peer has gone meanwhile."""


class Turns:
    """Calls ``arrive`` of those that ``wait``, some in each turn of the loop, the newest first.

    The newest, because jambonz gives a handshake up after 1.5 s and comes again (PROTOCOL.md 1.1): in the order of
    their coming, all would be answered just too late once the queue is that long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._waiting: list[Arriving] = []

    def wait(self, arriving: Arriving) -> None:
        """Have it called soon; it may be told more than once."""
        if not self._waiting:
            self._loop.call_soon(self._turn)
        self._waiting.append(arriving)

    def _turn(self) -> None:
        for _ in range(min(_PER_TURN, len(self._waiting))):
            self._waiting.pop().arrive()
        if self._waiting:
            self._loop.call_soon(self._turn)
