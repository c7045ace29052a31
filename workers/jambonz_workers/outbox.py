"""Commands to Redis that must happen, in order, over any number of lost connections."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from jambonz_shared.redis.command import Argument
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.scripts import EARLY

log = logging.getLogger(__name__)

AGAIN: Final = True

OnAnswer = Callable[[Any], object]
"""Gets the reply, or a ``ResponseError`` that no repetition would cure; returns ``AGAIN`` to have it repeated."""

# So that the Link is never full (32 MiB): what it refuses would be overtaken by what it takes next.
_IN_FLIGHT_LIMIT: Final = 10_000

# Redis says these while it starts, fails over or has no memory; the same command succeeds later.
_CODES_OF_WEATHER: Final = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "MISCONF", "BUSY", "NOREPLICAS"}
)
_RETRY_S: Final = 0.1


class _Errand:
    """A command until it has happened; it is its own callback, so that it costs one object."""

    __slots__ = ("args", "keys", "on_answer", "outbox", "script")

    def __init__(
        self,
        outbox: "Outbox",
        on_answer: OnAnswer,
        args: Sequence[Argument],
        script: Script | None = None,
        keys: Sequence[Argument] = (),
    ) -> None:
        self.outbox = outbox
        self.on_answer = on_answer
        self.args = args
        self.script = script
        self.keys = keys

    def start(self, link: Link) -> None:
        """Send it, once more if need be."""
        if self.script is None:
            link.send(self, *self.args)
        else:
            link.script(self, self.script, self.keys, self.args)

    def __call__(self, reply: Any) -> None:
        """Take the reply."""
        # A number is the usual reply, and always good.
        if not isinstance(reply, int) and ((isinstance(reply, Exception) and is_weather(reply)) or reply == EARLY):
            # Replies come in the order of the commands, so what is held stays in order.
            self.outbox.hold(self)
        elif self.on_answer(reply) is AGAIN:
            self.outbox.hold(self)


class Outbox:
    """Sends commands over the Link and repeats those whose fate is unknown, in the order they were given.

    A repeated command may run twice, so only such are given to it that do no harm then: the scripts know
    their duplicates by number, and sets and deletions are what they are. Forwarded envelopes are numbered too.
    """

    def __init__(self, link: Link) -> None:
        self.link: Final = link
        self._loop = asyncio.get_running_loop()
        self._held: deque[_Errand] = deque()
        self._retry: asyncio.TimerHandle | None = None
        link.on_up(self._flush)

    @property
    def held(self) -> int:
        """Commands that wait for Redis to come back."""
        return len(self._held)

    def send(self, on_answer: OnAnswer, *args: Argument) -> None:
        """Send a command; ``on_answer`` is called once it has happened."""
        self._put(_Errand(self, on_answer, args))

    def script(self, on_answer: OnAnswer, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> None:
        """Run a script; ``on_answer`` is called once it has run."""
        self._put(_Errand(self, on_answer, args, script, keys))

    async def settled(self) -> None:
        """Return when all that was given before has happened."""
        await self.call(b"PING")
        # Redis answers that also while it refuses what is written to it; then that is held again by now.
        while self._held:
            await self.call(b"PING")

    async def call(self, *args: Argument) -> Any:
        """Send a command and return its answer, however long Redis is away; cancelling forgets the answer only."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(partial(_resolve, future), *args)
        return await future

    async def script_call(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        """Run a script; otherwise as ``call``."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.script(partial(_resolve, future), script, keys, args)
        return await future

    def hold(self, errand: _Errand) -> None:
        """Keep a command that did not happen, behind those that are kept already."""
        self._held.append(errand)
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self._flush)

    def _put(self, errand: _Errand) -> None:
        if self._held or not self.link.is_up or self.link.in_flight > _IN_FLIGHT_LIMIT:
            self.hold(errand)
        else:
            errand.start(self.link)

    def _flush(self) -> None:
        if self._retry:
            self._retry.cancel()
            self._retry = None
        if not self.link.is_up:
            return
        while self._held and self.link.in_flight <= _IN_FLIGHT_LIMIT:
            self._held.popleft().start(self.link)
        if self._held:
            self._retry = self._loop.call_later(_RETRY_S, self._flush)


def is_weather(error: Exception) -> bool:
    """Tell whether the same command succeeds later: Redis is away, or refuses what is written to it for a while."""
    return isinstance(error, LinkError) or (isinstance(error, ResponseError) and error.code in _CODES_OF_WEATHER)


def _resolve(future: "asyncio.Future[Any]", reply: Any) -> None:
    if not future.done():
        future.set_result(reply)
