"""Commands to Redis that must happen, in order, over any number of lost connections."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script

log = logging.getLogger(__name__)

Argument = bytes | str | int | float
OnAnswer = Callable[[Any], None]
"""Gets the reply, or a ``ResponseError`` that no repetition would cure."""

# So that the Link is never full (32 MiB): what it refuses would be overtaken by what it takes next.
_IN_FLIGHT_LIMIT: Final = 10_000

# Redis says these while it starts, fails over or has no memory; the same command succeeds later.
_CODES_OF_WEATHER: Final = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "MISCONF", "BUSY", "NOREPLICAS"}
)
_RETRY_S: Final = 0.1


class Outbox:
    """Sends commands over the Link and repeats those whose fate is unknown, in the order they were given.

    A repeated command may run twice, so only such are given to it that do no harm then: the scripts know
    their duplicates by number, and sets and deletions are what they are. Forwarded envelopes are numbered too.
    """

    def __init__(self, link: Link) -> None:
        self.link: Final = link
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[Callable[..., None], OnAnswer]] = deque()
        self._retry: asyncio.TimerHandle | None = None
        link.on_up(self._flush)

    @property
    def held(self) -> int:
        """Commands that wait for Redis to come back."""
        return len(self._held)

    def send(self, on_answer: OnAnswer, *args: Argument) -> None:
        """Send a command; ``on_answer`` is called once it has happened."""
        self._put(lambda on_reply: self.link.send(on_reply, *args), on_answer)

    def script(self, on_answer: OnAnswer, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> None:
        """Run a script; ``on_answer`` is called once it has run."""
        self._put(lambda on_reply: self.link.script(on_reply, script, keys, args), on_answer)

    async def settled(self) -> None:
        """Return when all that was given before has happened."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.send(lambda _: None if future.done() else future.set_result(None), b"PING")
        await future

    def _put(self, attempt: Callable[..., None], on_answer: OnAnswer) -> None:
        if self._held or not self.link.is_up or self.link.in_flight > _IN_FLIGHT_LIMIT:
            self._hold(attempt, on_answer)
        else:
            attempt(partial(self._replied, attempt, on_answer))

    def _replied(self, attempt: Callable[..., None], on_answer: OnAnswer, reply: Any) -> None:
        # Replies come in the order of the commands, so what is held stays in order.
        if isinstance(reply, LinkError) or (isinstance(reply, ResponseError) and reply.code in _CODES_OF_WEATHER):
            self._hold(attempt, on_answer)
            return
        on_answer(reply)

    def _hold(self, attempt: Callable[..., None], on_answer: OnAnswer) -> None:
        self._held.append((attempt, on_answer))
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self._flush)

    def _flush(self) -> None:
        if self._retry:
            self._retry.cancel()
            self._retry = None
        if not self.link.is_up:
            return
        while self._held and self.link.in_flight <= _IN_FLIGHT_LIMIT:
            attempt, on_answer = self._held.popleft()
            attempt(partial(self._replied, attempt, on_answer))
        if self._held:
            self._retry = self._loop.call_later(_RETRY_S, self._flush)
