"""The internal HTTP of a process: ``/healthz``, ``/readyz``, ``/metrics``."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

log = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out what strangers get a 400 for: a traceback for each would fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


log.addFilter(_is_ours)

# Returns None if all is well, else the reason in a few words. It is called for each probe, so it must not wait for
# anything: it tells what the process has seen lately.
Check = Callable[[], str | None]


class InternalHttp:
    """A running server; ``port`` is the real one, even if a free one was asked for."""

    def __init__(self, port: int) -> None:
        self.port = port


@asynccontextmanager
async def internal_http(
    host: str, port: int, checks: Mapping[str, Check], registry: CollectorRegistry
) -> AsyncIterator[InternalHttp]:
    """Serve the three pages while the block runs.

    ``/healthz`` answers 200 as long as the loop turns, whatever Redis does: a process is not restarted for the faults
    of others. ``/readyz`` answers 200 if every check is well, else 503, with each check by name as JSON.

    Raises:
        OSError: If the address cannot be listened on.
    """
    runner = runner_of(_application(checks, registry))
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield InternalHttp(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def runner_of(application: web.Application) -> web.AppRunner:
    """Return what runs the pages of a process."""
    return web.AppRunner(application, access_log=None, logger=log, handle_signals=False, shutdown_timeout=1.0)


def _application(checks: Mapping[str, Check], registry: CollectorRegistry) -> web.Application:
    # CPU time, memory and open files under the names that every Prometheus knows; read when somebody asks.
    of_process = CollectorRegistry()
    ProcessCollector(registry=of_process)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        body = readiness(checks)
        return web.json_response(body, status=200 if body["ready"] else 503)

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(registry) + generate_latest(of_process)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return application


def readiness(checks: Mapping[str, Check]) -> dict[str, object]:
    """Return the body of ``/readyz``: whether all is well, and each check's answer."""
    reasons = {name: check() for name, check in checks.items()}
    return {
        "ready": all(reason is None for reason in reasons.values()),
        "checks": {name: {"ok": reason is None, "reason": reason or ""} for name, reason in reasons.items()},
    }
