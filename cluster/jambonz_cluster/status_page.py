"""`jambonz-cluster status --serve`: the status as a page that renews itself, and as JSON."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from html import escape
from typing import Final

from aiohttp import web

from jambonz_cluster.connected import connected
from jambonz_cluster.options import EXIT_FAILED
from jambonz_cluster.status import Process, Status, read_status
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import trouble_of, why_unreachable
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.runtime.http import InternalHttp, runner_of
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_shared.runtime.signals import shutdown_signals
from jambonz_shared.telemetry.logging import logging_to

log = logging.getLogger(__name__)

REFRESH_S: Final = 2

# The page runs no script and loads nothing; nobody may frame it.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "th,td{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #ddd}"
    "td.n,th.n{text-align:right}.bad{color:#a00;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.bad{color:#f88}}"
)


def run_page(settings: CommonSettings, host: str, port: int) -> int:
    """Serve the page until a signal ends it; return 0, or 1 if the address cannot be listened on."""
    with logging_to(level=settings.log_level, style=settings.log_format):
        try:
            run_in_loop(serve_status(settings, host, port))
        except OSError as error:
            log.error("cannot run: %s", error)
            return EXIT_FAILED
    return 0


async def serve_status(settings: CommonSettings, host: str, port: int) -> None:
    """Serve the page until a signal ends it.

    Raises:
        OSError: If the address cannot be listened on.
    """
    with shutdown_signals() as shutdown:
        async with status_http(settings, host, port) as http:
            log.info("status page ready", extra={"port": http.port})
            await shutdown.drain.wait()


@asynccontextmanager
async def status_http(settings: CommonSettings, host: str, port: int) -> AsyncIterator[InternalHttp]:
    """Serve ``/``, ``/status.json`` and ``/healthz`` while the block runs; port 0 takes a free one.

    The first two answer 503 while Redis is away. Nothing can be changed through them, and no call is named.

    Raises:
        OSError: If the address cannot be listened on.
    """
    async with connected(settings) as link:
        application = _application(link, settings)
        runner = runner_of(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield InternalHttp(runner.addresses[0][1])
        finally:
            await runner.cleanup()


def _application(link: Link, settings: CommonSettings) -> web.Application:
    keys = Keys(settings.key_prefix)

    async def status_or_trouble() -> Status | str:
        try:
            return await read_status(link, keys, settings.lease_s)
        except (LinkError, ResponseError, TimeoutError):
            return trouble_of(await why_unreachable(settings.redis_url, keys.apps))

    async def page(_: web.Request) -> web.Response:
        status = await status_or_trouble()
        code = 503 if isinstance(status, str) else 200
        return web.Response(text=page_of(status), content_type="text/html", headers=_HEADERS, status=code)

    async def as_json(_: web.Request) -> web.Response:
        status = await status_or_trouble()
        if isinstance(status, str):
            return web.json_response({"problems": [status]}, headers=_HEADERS, status=503)
        return web.json_response(status.to_json(), headers=_HEADERS)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/status.json", as_json), web.get("/healthz", healthz)])
    return application


def page_of(status: Status | str) -> str:
    """Return the page as HTML; a text tells why Redis gives no status."""
    body = f'<p class="bad">{escape(status)}</p>' if isinstance(status, str) else "".join(_parts(status))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>jambonz-cluster</title>'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<style>{_STYLE}</style></head><body><h1>jambonz-cluster</h1>{body}</body></html>"
    )


def _parts(status: Status) -> Iterable[str]:
    yield f"<p>{status.calls} calls, {len(status.gateways)} gateways, {len(status.workers)} workers</p>"
    for problem in status.problems():
        yield f'<p class="bad">{escape(problem)}</p>'
    yield from (_processes("Gateways", status.gateways), _processes("Workers", status.workers))
    rows = [(app.name, str(app.workers), str(app.waiting)) for app in status.apps]
    yield _table("Apps", ("App", "Workers", "Events waiting"), rows)


def _processes(title: str, processes: Sequence[Process]) -> str:
    rows = [(one.id, str(one.calls), str(one.capacity), f"{one.silent_ms} ms") for one in processes]
    return _table(title, ("Process", "Calls", "Capacity", "Heard of"), rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first are numbers."""

    def line(tag: str, cells: Sequence[str]) -> str:
        first, *others = (escape(cell) for cell in cells)
        return f"<tr><{tag}>{first}</{tag}>" + "".join(f'<{tag} class="n">{cell}</{tag}>' for cell in others) + "</tr>"

    lines = "".join(line("td", row) for row in rows)
    return f"<h2>{escape(title)}</h2><table><thead>{line('th', heads)}</thead><tbody>{lines}</tbody></table>"
