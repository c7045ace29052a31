"""``create_endpoint`` of an SDK application: a worker in its process."""

import asyncio
import logging
import signal
from typing import Any

from jambonz_shared.config import WorkerSettings, load_settings
from jambonz_shared.runtime.signals import Shutdown, shutdown_signals
from jambonz_workers.app import App
from jambonz_workers.contrib.sdk.services import Services
from jambonz_workers.worker import run

log = logging.getLogger(__name__)


class Runner:
    """Stands for the SDK's web server: ``cleanup()`` drains the worker."""

    def __init__(self, app: App, settings: WorkerSettings) -> None:
        self._shutdown: Shutdown | None = None
        self._is_cleaned_up = False
        self._is_up = asyncio.Event()
        self._task = asyncio.create_task(self._run(app, settings), name="worker")

    async def cleanup(self) -> None:
        """Serve the calls there are for a while, hand the rest to others, and stop."""
        self._is_cleaned_up = True
        await self._is_up.wait()
        if self._shutdown:
            self._shutdown.drain.set()
        await asyncio.wait([self._task])

    async def _run(self, app: App, settings: WorkerSettings) -> None:
        with shutdown_signals() as shutdown:
            self._shutdown = shutdown
            self._is_up.set()
            await run(app, settings, shutdown)
        if not self._is_cleaned_up:
            # The application waits for ever; the signal that the worker has drained for now ends it.
            signal.raise_signal(signal.SIGTERM)


async def create_endpoint(
    *,
    host: str = "",
    port: int = 0,
    env_vars: dict[str, dict[str, Any]] | None = None,
    logger_: logging.Logger | None = None,
    compress: bool = True,
) -> tuple[Services, Runner]:
    """Start a worker in this process; settings come from the environment (``JAMBONZ_CLUSTER_REDIS_URL``).

    Raises:
        BadSettings: If settings of the environment are wrong.
    """
    del compress
    (logger_ or log).info("the gateway listens, not this process", extra={"host": host, "port": port})
    services = Services(env_vars)
    settings = load_settings(WorkerSettings, {})
    return services, Runner(services.app, settings)
