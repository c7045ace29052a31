"""A parent that keeps N child processes alive, ends with them, and hands its signals on."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jambonz_shared.environment import EXIT_BAD_SETTINGS
from jambonz_shared.runtime.backoff import Backoff
from jambonz_shared.runtime.lifeline import die_with_parent
from jambonz_shared.runtime.patience import wait_at_most
from jambonz_shared.runtime.signals import Shutdown, reload_signal, shutdown_signals

log = logging.getLogger(__name__)

# Beyond the second signal a child gets this long before it is killed: its own bounded haste takes less.
HASTE_LIMIT_S: Final = 10.0


@dataclass(slots=True)
class _Slot:
    """One of the N places for a child."""

    index: int
    process: asyncio.subprocess.Process | None = None
    failures: int = 0
    starts: int = 0


class Supervisor:
    """Keeps ``count`` children running, each started by ``argv_of(index)``, until it is told to end.

    A child that ends unasked is started again after a pause that doubles (``Backoff``); one that ends with exit code
    2 cannot be helped and ends the whole. Children run in sessions of their own, so a Ctrl-C reaches them once, from
    here; they get SIGTERM if this process dies without a word.
    """

    def __init__(self, argv_of: Callable[[int], Sequence[str]], count: int, *, backoff: Backoff | None = None) -> None:
        if count < 1:
            raise ValueError(f"expected at least one child, got {count}")
        self._argv_of = argv_of
        self._backoff = backoff or Backoff()
        self._slots = [_Slot(index) for index in range(count)]
        self._exit_code = 0

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that run now."""
        return [slot.process.pid for slot in self._slots if slot.process and slot.process.returncode is None]

    async def run(self) -> int:
        """Supervise until a signal ends it or a child cannot be helped; return the exit code.

        Cancelling kills the children.
        """
        with shutdown_signals() as shutdown, reload_signal() as reload:
            return await self.run_until(shutdown, reload)

    async def run_until(self, shutdown: Shutdown, reload: asyncio.Event | None = None) -> int:
        """Do as ``run``, with wishes that come from elsewhere than signals."""
        try:
            async with asyncio.TaskGroup() as group:
                forwarding = group.create_task(self._forward(shutdown))
                keepers = [group.create_task(self._keep(slot, shutdown)) for slot in self._slots]
                reloading = group.create_task(self._forward_reload(reload or asyncio.Event()))
                await asyncio.wait(keepers)
                forwarding.cancel()
                reloading.cancel()
        finally:
            self._signal(signal.SIGKILL)
        return self._exit_code

    async def _keep(self, slot: _Slot, shutdown: Shutdown) -> None:
        while not shutdown.drain.is_set():
            lived_s, code = await self._live(slot, shutdown)
            if shutdown.drain.is_set():
                self._note_end(slot, code)
            elif code == EXIT_BAD_SETTINGS:
                log.error("child cannot start", extra={"index": slot.index, "exit_code": code})
                self._exit_code = EXIT_BAD_SETTINGS
                shutdown.request()
            else:
                slot.failures = self._backoff.failures_after(slot.failures, lived_s)
                pause_s = self._backoff.pause_s(slot.failures)
                log.error("child ended", extra={"index": slot.index, "exit_code": code, "again_in_s": pause_s})
                await wait_at_most(shutdown.drain, pause_s)

    async def _live(self, slot: _Slot, shutdown: Shutdown) -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        slot.process = await asyncio.create_subprocess_exec(
            *self._argv_of(slot.index), start_new_session=True, preexec_fn=die_with_parent(signal.SIGTERM)
        )
        slot.starts += 1
        log.info("child started", extra={"index": slot.index, "pid": slot.process.pid, "starts": slot.starts})
        if shutdown.drain.is_set():
            # The wish came while the child was being started, so it was not among those told.
            slot.process.send_signal(signal.SIGTERM)
        code = await slot.process.wait()
        return loop.time() - started_s, code

    def _note_end(self, slot: _Slot, code: int) -> None:
        # A child that had not installed its handlers yet dies of the signal: it ended as it was told.
        if code not in (0, -signal.SIGTERM):
            log.warning("child ended badly", extra={"index": slot.index, "exit_code": code})
            self._exit_code = self._exit_code or 1

    async def _forward(self, shutdown: Shutdown) -> None:
        await shutdown.drain.wait()
        self._signal(signal.SIGTERM)
        await shutdown.haste.wait()
        self._signal(signal.SIGTERM)
        await asyncio.sleep(HASTE_LIMIT_S)
        log.error("children did not end in haste; killing them", extra={"pids": self.pids})
        self._signal(signal.SIGKILL)

    async def _forward_reload(self, reload: asyncio.Event) -> None:
        while True:
            await reload.wait()
            reload.clear()
            self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.process and slot.process.returncode is None:
                slot.process.send_signal(number)
