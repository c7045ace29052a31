"""Simulated calls that send numbers, and what their transcripts say about each number."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from jambonz_simulator import CallOptions, CallResult, HookRecord, LiveCall, NotInTime, Script
from tests.chaos.standstills import Standstills

# Any failure to connect is retried (PROTOCOL.md 1.5), five sockets in a call's life (1.4).
URL_OPTIONS: Final = "#rc=5&rp=all"

REPORT_LIMIT_S: Final = 20.0


class Caller:
    """A call that sends the numbers 1, 2, 3 ... in hooks and notices.

    Attributes:
        live: The simulated call.
        report: What the application has seen, as it said at the end; None if it could not be asked.
        report_msgid: Of the hook that the report answered; numbers sent behind it are not in it.
        remotes: What became of the numbered commands from outside: sent, queued, refused, gone, or unknown.
    """

    def __init__(self, url: str, seed: int) -> None:
        self.live: Final = LiveCall(f"{url}/chaos{URL_OPTIONS}", Script(), CallOptions(seed=seed, orphan_linger_s=10.0))
        self.report: list[int] | None = None
        self.report_msgid = ""
        self.remotes: dict[int, str] = {}
        self._numbers = itertools.count(1)

    @property
    def sid(self) -> str:
        """The call_sid."""
        return self.live.call_sid

    @property
    def is_over(self) -> bool:
        """True when the call has ended."""
        return self.live.result is not None

    @property
    def started_at_s(self) -> float:
        """Monotonic time to which the times of records are relative."""
        return self.live.core.world.ledger.started_at_s

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The tags of all acks, in the order of their hooks."""
        return [tag for record in self.live.hooks if (tag := tag_of(record.verbs))]

    @property
    def pid(self) -> int:
        """The worker that gave the newest answer."""
        return int(self.answers[-1]["pid"])

    async def wait_answered(self, limit_s: float = 30.0) -> None:
        """Return when the first hook has its ack."""
        await self.live.wait_for_hook(kind="session:new", timeout_s=limit_s)

    def send(self, path: str = "/count") -> int:
        """Send the next number in a hook, and return it."""
        number = next(self._numbers)
        self.live.start_hook(f"{path}/{number}")
        return number

    def send_notice(self) -> int:
        """Send the next number in a notice, and return it."""
        number = next(self._numbers)
        self.live.send_notice("verb:status", {"i": number})
        return number

    def hook(self, number: int) -> HookRecord:
        """Return the record of a number that was sent in a hook."""
        return next(record for record in self.live.hooks if number_of(record) == number)

    async def settled(self, number: int, limit_s: float = 10.0) -> HookRecord:
        """Wait until a number's hook is acked or dead."""

        def found(_: LiveCall) -> HookRecord | None:
            record = next((one for one in self.live.hooks if number_of(one) == number), None)
            return record if record and (record.is_acked or record.dead_by) else None

        await self.live.wait_for(f"hook of number {number} settled", found, limit_s)
        return self.hook(number)

    def answered_after_s(self, at_s: float) -> float | None:
        """Return how long after a moment the next answer of a worker came, if one did."""
        acks = [r.acked_at_s + self.started_at_s for r in self.live.hooks if r.acked_at_s and tag_of(r.verbs)]
        return min((ack - at_s for ack in acks if ack > at_s), default=None)

    async def talk(self, dice: random.Random, every_s: float) -> None:
        """Send numbers until cancelled or the call is over: two hooks, then a notice, about each ``every_s``."""
        await asyncio.sleep(dice.random() * every_s)
        while not self.is_over:
            (self.send_notice if dice.random() < 0.33 else self.send)()
            await asyncio.sleep(every_s * (0.5 + dice.random()))

    async def leave(self) -> CallResult:
        """Ask what the application has seen, hang up, and return the result."""
        give_up_at_s = monotonic() + REPORT_LIMIT_S
        while self.report is None and not self.is_over and monotonic() < give_up_at_s:
            try:
                record = await self.live.send_hook("/report", timeout_s=6.0)
            except NotInTime:
                continue
            tag = tag_of(record.verbs)
            if tag and "seen" in tag:
                self.report, self.report_msgid = list(tag["seen"]), record.msgid
        if not self.is_over:
            self.live.hang_up()
        return await self.live.wait_for_end()


@dataclass(slots=True)
class Crowd:
    """Many callers; ``arrive``, let them talk, ``leave``.

    Attributes:
        url: Where they call.
        seed: Of the first; the next ones have the next numbers.
        callers: All that ever came.
        standstills: All servers are late then, however quick they are.
    """

    url: str
    seed: int
    callers: list[Caller]
    standstills: Standstills = field(default_factory=Standstills)

    def stood_still(self, caller: Caller) -> bool:
        """Whether this machine was held up in the life of a call that is over."""
        assert caller.live.result is not None
        return self.standstills.between(caller.started_at_s, caller.started_at_s + caller.live.result.duration_s)

    async def arrive(self, count: int, rate: float = 100.0) -> list[Caller]:
        """Let so many calls come in, ``rate`` a second, and return when each has been answered."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        new = [Caller(self.url, self.seed + len(self.callers) + index) for index in range(count)]
        for index, caller in enumerate(new):
            await asyncio.sleep(began_s + index / rate - loop.time())
            caller.live.start()
            self.callers.append(caller)
        await asyncio.gather(*(caller.wait_answered() for caller in new))
        return new

    async def leave(self) -> list[CallResult]:
        """End every call in order."""
        return await asyncio.gather(*(caller.leave() for caller in self.callers))

    @asynccontextmanager
    async def streaming(self, rate: float, life_s: float, every_s: float) -> AsyncIterator[None]:
        """Let calls come and go while the block runs: ``rate`` a second, each talks for ``life_s`` and then leaves.

        When the block ends no new ones come; those that are there stay to their end.
        """
        visits: set[asyncio.Task[None]] = set()
        coming = asyncio.create_task(self._keep_coming(rate, life_s, every_s, visits))
        try:
            yield
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await asyncio.gather(*visits)

    async def _keep_coming(self, rate: float, life_s: float, every_s: float, visits: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for number in itertools.count():
            await asyncio.sleep(began_s + number / rate - loop.time())
            caller = Caller(self.url, self.seed + len(self.callers))
            self.callers.append(caller)
            visits.add(asyncio.create_task(self._visit(caller, life_s, every_s)))

    async def _visit(self, caller: Caller, life_s: float, every_s: float) -> None:
        caller.live.start()
        with contextlib.suppress(NotInTime, TimeoutError):
            async with asyncio.timeout(life_s):
                await caller.wait_answered()
                await caller.talk(random.Random(caller.sid), every_s)
        await caller.leave()

    @asynccontextmanager
    async def talking(self, every_s: float) -> AsyncIterator[None]:
        """Let all callers that are there now send numbers while the block runs."""
        tasks = [
            asyncio.create_task(caller.talk(random.Random(self.seed + index), every_s))
            for index, caller in enumerate(self.callers)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def crowd(url: str, seed: int = 1) -> AsyncIterator[Crowd]:
    """Give a crowd whose sockets are dropped at the end."""
    people = Crowd(url, seed, [])
    watching = asyncio.create_task(people.standstills.watch())
    try:
        yield people
    finally:
        watching.cancel()
        await asyncio.gather(*(caller.live.leave() for caller in people.callers))


def number_of(record: HookRecord) -> int | None:
    """Return the number a hook carries, if it carries one."""
    last = (record.hook or "").rpartition("/")[2]
    return int(last) if last.isdigit() else None


def tag_of(verbs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the data of the tag verb in an answer."""
    return next((verb["data"] for verb in verbs if verb.get("verb") == "tag"), None)


async def all_settled(callers: list[Caller], condition: Callable[[Caller], bool], what: str, limit_s: float) -> None:
    """Wait until a condition holds for each caller."""

    async def settled(caller: Caller) -> None:
        await caller.live.wait_for(what, lambda _: condition(caller), limit_s)

    await asyncio.gather(*map(settled, callers))
