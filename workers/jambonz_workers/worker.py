"""The worker process: puts the parts together, runs them, drains them."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from jambonz_shared.config import WorkerSettings
from jambonz_shared.errors import BadFormat, LifespanFailed
from jambonz_shared.keys import Keys
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.errors import LinkError, ResponseError, code_of
from jambonz_shared.redis.readiness import redis_problem
from jambonz_shared.runtime.garbage import tune_garbage_collection
from jambonz_shared.runtime.http import Check, internal_http
from jambonz_shared.runtime.patience import end_tasks
from jambonz_shared.runtime.signals import Shutdown, shutdown_signals
from jambonz_workers.adoption import Adopter
from jambonz_workers.app import App, Lifespan
from jambonz_workers.blockage import blockages_told
from jambonz_workers.call_logs import call_sid_in_logs
from jambonz_workers.calls import Calls
from jambonz_workers.consumer import Consumer, stop_reader
from jambonz_workers.dispatcher import Dispatcher
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.office import Office
from jambonz_workers.outbox import Outbox, is_weather
from jambonz_workers.presence import Presence
from jambonz_workers.runner import Runner, overheard_by
from jambonz_workers.sweeper import Sweeper
from jambonz_workers.terms import Terms
from jambonz_workers.threads import Threads
from jambonz_workers.vigil import Vigil
from jambonz_workers.watch import Watch

log = logging.getLogger(__name__)

# Time that handlers and commits get to finish when calls are given up at the end of the drain.
_GIVE_UP_S: Final = 2.0

# A Redis that refuses what is written to it is asked again so often by a worker that starts.
_ANNOUNCE_AGAIN_S: Final = 0.5

# A worker that leaves while Redis is away leaves its keys to their TTL.
_LEAVE_S: Final = 1.0


class ToldToEnd(Exception):
    """The process was told to end while it waited for Redis."""


async def serve(app: App, settings: WorkerSettings, *, process_index: int = 0) -> None:
    """Run one worker until SIGTERM or SIGINT; a second signal hastens its end.

    It stops pulling new calls, serves its own until they end or ``drain_timeout_s`` is over, and hands
    the rest to other workers.
    """
    tune_garbage_collection()
    with shutdown_signals() as shutdown, call_sid_in_logs():
        await run(app, settings, shutdown, process_index=process_index)


async def run(app: App, settings: WorkerSettings, shutdown: Shutdown, *, process_index: int = 0) -> None:
    """Run one worker until ``shutdown.drain`` is set. See ``serve``."""
    async with AsyncExitStack() as stack:
        worker = Worker(app, settings)
        if port := settings.internal_port_of(process_index):
            await stack.enter_async_context(
                internal_http(settings.host, port, worker.checks(shutdown), worker.metrics.registry)
            )
        try:
            await stack.enter_async_context(worker.connected(shutdown.drain))
            if app.lifespan:
                await _open(app, app.lifespan, stack)
            await stack.enter_async_context(worker.reading(shutdown.drain))
        except ToldToEnd:
            log.info("worker was told to end before Redis answered", extra={"worker": worker.id})
            return
        log.info("worker is ready", extra={"worker": worker.id, "app": app.name})
        await shutdown.drain.wait()
        await worker.drain(shutdown)


class Worker:
    """One worker process. Enter ``connected``, then ``reading``; ``drain`` before leaving them.

    Attributes:
        id: ``<host>-<pid>-<random>``.
    """

    def __init__(self, app: App, settings: WorkerSettings) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.metrics = WorkerMetrics()
        self._app = app
        self._settings = settings
        self._keys = keys = Keys(settings.key_prefix)
        self._loop = asyncio.get_running_loop()
        backend = backend_of(settings.redis_url)
        self._link = link = backend.link("link")
        link.linger_s = settings.redis_linger_s
        link.on_failure = self.metrics.failures.inc
        self._channels = backend.channels(link, keys.canary(self.id))
        self._calls = Calls(link, self._channels, self.id, keys)
        self._calls.target = app.target
        self._dispatcher = Dispatcher(settings.max_calls, overheard_by(app), settings.max_waiting_bytes)
        # Before the outbox, which listens too: what Redis has lost is restored before commits are repeated.
        link.on_up(self._restore)
        self._outbox = Outbox(link)
        self._sweeper = Sweeper(self._outbox, keys.inbox(self.id), keys.dispatch(app.name))
        self._threads = Threads(settings.handler_threads)
        runner = Runner(app, self.metrics, self._threads)
        self.office = Office(self._terms(), self._dispatcher, self._outbox, self._sweeper, runner)
        consumer = Consumer(self.office, self._sweeper, self.metrics)
        self._dispatch, self._inbox = consumer.readers(backend, link, keys, app.name)
        self._presence = Presence(link, keys, self.id, settings)
        self._presence.load = lambda: self._dispatcher.count
        self._presence.reader_id = lambda: self._dispatch.client_id
        self._dispatch.on_numbered = self._presence.tell_reader
        self._presence.on_adopted = self.office.recovery.taken_for_dead
        self._presence.on_forgotten = self.office.recovery.restore
        self.office.recovery.on_missed = self._presence.look
        self._dispatch.on_refused = self._presence.look
        self._vigil = Vigil(link, keys, Watch(self.id, settings.lease_s), self._adopter(), self.metrics)
        self._reader_tasks: list[asyncio.Task[None]] = []
        self._is_reading = False
        self._has_handed_over = False
        self._connect_gauges()

    def _terms(self) -> Terms:
        app, settings = self._app, self._settings
        return Terms(
            self.id,
            app.name,
            self._keys,
            round(settings.call_ttl_s * 1000),
            settings.call_grace_s,
            self.metrics,
            self._room_made,
            app.target,
            app.env,
            app.validate if app.validates(default=settings.validate_verbs == "on") else None,
        )

    def _adopter(self) -> Adopter:
        return Adopter(
            self._link,
            self._keys,
            self.id,
            grace_ms=round(self._settings.call_grace_s * 1000),
            lease_ms=round(self._settings.lease_s * 1000),
            now_ms=lambda: time.time_ns() // 1_000_000,
        )

    def _connect_gauges(self) -> None:
        self.metrics.tasks.set_function(lambda: len(asyncio.all_tasks()))
        self.metrics.held.set_function(lambda: self._outbox.held)
        self.metrics.waiting.set_function(lambda: self._dispatcher.load.waiting_bytes)
        self.metrics.works.set_function(lambda: sum(len(live.call.works.running) for live in self.office.live.values()))

    @asynccontextmanager
    async def connected(self, told: asyncio.Event) -> AsyncIterator[None]:
        """Keep connections to Redis while the block runs; ``app.calls`` works inside.

        Raises:
            ToldToEnd: If ``told`` is set before Redis has answered.
        """
        tasks = [
            self._loop.create_task(self._link.run(), name="link"),
            self._loop.create_task(self._channels.run(), name="channels"),
        ]
        try:
            await _unless(told, self._link.wait_up())
            self._app.calls = self._calls
            with blockages_told(self._settings.handler_block_s, self.metrics.blocked):
                yield
        finally:
            self._threads.stop()
            self._app.calls = None
            await end_tasks(tasks)

    @asynccontextmanager
    async def reading(self, told: asyncio.Event) -> AsyncIterator[None]:
        """Be there for calls while the block runs.

        Raises:
            ToldToEnd: As ``connected``.
        """
        await _unless(told, self._subscribe())
        await _unless(told, self._announce())
        beats = self._loop.create_task(self._presence.run(), name="presence")
        vigil = self._loop.create_task(self._vigil.run(), name="vigil")
        self._reader_tasks = [
            self._loop.create_task(self._dispatch.run(), name="dispatch"),
            self._loop.create_task(self._inbox.run(), name="inbox"),
        ]
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False
            await end_tasks([*self._reader_tasks, beats, vigil])
            await self._leave()

    async def drain(self, shutdown: Shutdown) -> None:
        """Take no new calls, serve those there are for a while, then hand the rest to other workers."""
        log.info("worker drains", extra={"worker": self.id, "calls": self._dispatcher.count})
        self._dispatcher.is_draining = True
        await stop_reader(self._dispatch, self._reader_tasks[0])
        await self._wait_for_calls(shutdown)
        left = self._dispatcher.calls
        for call_sid in left:
            self.office.give_up(call_sid)
        await self._hand_over()
        log.info("worker has drained", extra={"worker": self.id, "handed_over": len(left)})

    def checks(self, shutdown: Shutdown) -> dict[str, Check]:
        """Return what ``/readyz`` asks."""
        return {
            "redis": lambda: redis_problem(self._link, self._presence.pulse),
            "streams": lambda: None if self._is_reading else "the worker does not read its streams yet",
            "drain": lambda: "the worker is draining" if shutdown.drain.is_set() else None,
            "room": lambda: None if self._dispatcher.credits else f"all {self._settings.max_calls} calls are taken",
        }

    def _restore(self) -> None:
        self._presence.make_inbox()
        self.office.recovery.restore()

    def _room_made(self) -> None:
        self._dispatch.poke()

    async def _subscribe(self) -> None:
        """Show life by a subscription (others see it end at once), and hear what became of commands."""
        ready = [asyncio.Event(), asyncio.Event()]
        self._channels.subscribe(self._keys.alive(self.id).encode(), _ignore, ready[0].set)
        self._channels.subscribe(self._keys.outcomes(self.id).encode(), self._on_outcome, ready[1].set)
        for event in ready:
            await event.wait()

    async def _announce(self) -> None:
        """Say that this worker is there; a Redis that refuses what is written to it, or goes away, is waited for.

        Raises:
            ResponseError: If waiting would not help (NOPERM).
        """
        while True:
            await self._link.wait_up()
            try:
                return await self._presence.announce(self._app.manifest())
            except (LinkError, ResponseError) as error:
                if not is_weather(error):
                    raise
                # Logs it once, and has /readyz say it.
                self._presence.pulse(error)
            await asyncio.sleep(_ANNOUNCE_AGAIN_S)

    def _on_outcome(self, raw: bytes) -> None:
        try:
            if self._calls.on_outcome(raw):
                return
            outcome = Outcome.decode(raw)
        except BadFormat as error:
            log.warning("not an outcome: %s", error)
            return
        if outcome.kind is OutcomeKind.REFUSED:
            self.metrics.refused.inc()
            log.warning("a command was refused", extra={"directive": outcome.directive_id, "why": outcome.reason})

    async def _wait_for_calls(self, shutdown: Shutdown) -> None:
        deadline_s = self._loop.time() + self._settings.drain_timeout_s
        haste = self._loop.create_task(shutdown.haste.wait())
        try:
            while self._dispatcher.count and not haste.done() and self._loop.time() < deadline_s:
                # Looked at 20 times a second: nobody is in a hurry, and no call has to tell anybody that it ended.
                await asyncio.wait([haste], timeout=0.05)
        finally:
            await end_tasks([haste])

    async def _hand_over(self) -> None:
        """Take the inbox away from the gateways, and give what is left in it to the others."""
        await stop_reader(self._inbox, self._reader_tasks[1])
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                while self.office.is_busy:
                    await asyncio.sleep(0.01)
                # What was forwarded is written then, and its entries can go.
                await self._outbox.settled()
                self._sweeper.flush()
                await self._empty_inbox()
                # A claim may have been answered since.
                self._has_handed_over = not self._dispatcher.count
        except (TimeoutError, LinkError, ResponseError):
            log.warning("handing over took too long; other workers adopt what is left", extra={"worker": self.id})

    async def _empty_inbox(self) -> None:
        # From here on gateways find no inbox and write to dispatch. Taken as an adopter takes it, so that one goes on
        # where this ends, should it end.
        self._presence.is_leaving = True
        taken = self._keys.taken(self.id)
        try:
            await self._link.call(b"RENAME", self._keys.inbox(self.id), taken)
        except ResponseError as error:
            # No such key: Redis has lost it. But one that is there must not be deleted with what is in it.
            if is_weather(error):
                raise
        entries: Any = await self._link.call(b"XRANGE", taken, b"-", b"+")
        dispatch = self._keys.dispatch(self._app.name)
        for _, fields in entries:
            for raw in fields[1::2]:
                self._outbox.send(_ignore, b"XADD", dispatch, b"*", b"e", raw)
        await self._outbox.settled()

    async def _leave(self) -> None:
        # Otherwise the others must find this worker dead, and adopt what it leaves behind.
        if not self._has_handed_over:
            return
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._presence.leave()
        except (TimeoutError, LinkError, ResponseError) as error:
            why = code_of(error) or "Redis is away"
            log.warning("left without saying goodbye; other workers tidy up", extra={"worker": self.id, "why": why})


async def _open(app: App, lifespan: Lifespan, stack: AsyncExitStack) -> None:
    """Enter the application's lifespan.

    Raises:
        LifespanFailed: If it raises. The traceback of its cause begins with the application's own code.
    """
    try:
        await stack.enter_async_context(lifespan(app))
    except Exception as error:  # noqa: BLE001 code of others may raise anything
        trace = error.__traceback__
        while trace and trace.tb_next and trace.tb_frame.f_code.co_filename in (__file__, contextlib.__file__):
            trace = trace.tb_next
        raise LifespanFailed(app.name, error) from error.with_traceback(trace)


async def _unless(told: asyncio.Event, start: Coroutine[Any, Any, None]) -> None:
    """Wait for a step of the start; who is told to end meanwhile must not wait for Redis, perhaps for ever."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(start), asyncio.create_task(told.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ToldToEnd
        tasks[0].result()
    finally:
        await end_tasks(tasks)


def _ignore(_: object) -> None:
    """On the own channel nothing is said; what is written to dispatch the outbox repeats until Redis takes it."""
