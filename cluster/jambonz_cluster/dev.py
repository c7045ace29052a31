"""Everything on one machine, for development: Redis, one gateway, one worker that reloads."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import aiohttp
from watchfiles import PythonFilter, awatch

from jambonz_cluster.embedded_redis import EmbeddedRedis, NoRedisServer, free_port
from jambonz_cluster.options import EXIT_FAILED
from jambonz_cluster.part import Part, Screen
from jambonz_shared.config import GatewaySettings
from jambonz_shared.environment import variable_of
from jambonz_shared.runtime.signals import Shutdown, shutdown_signals

# A worker imports its application first, which may bring heavy libraries along.
READY_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.05


Visit = Callable[[str], Awaitable[int]]


class PartEnded(Exception):
    """A part of `dev` is gone for good; the text says which and how."""


class VisitEnded(Exception):
    """What was to be done while all was up has been done."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"the visit ended with exit code {exit_code}")


class Dev:
    """Runs a cluster of one gateway and one worker until a signal or the end of a part.

    Redis is the one that the settings name; if none is set, one of our own with temporary data. ``run`` returns the
    exit code and leaves no process and no folder. A ``visit`` is called with the websocket URL once all is ready; its
    end ends all, its result is the exit code then.
    """

    def __init__(
        self, application: str, settings: GatewaySettings, *, is_reloading: bool, visit: Visit | None = None
    ) -> None:
        self._application = application
        self._settings = settings
        self._is_reloading = is_reloading
        self._visit = visit
        self._say = Screen().say
        self._redis: EmbeddedRedis | None = None
        self._parts: list[Part] = []
        self._internal_ports: dict[str, int] = {}

    async def run(self) -> int:
        """Run until told to end; return 0 then, 1 if a part died."""
        with shutdown_signals() as shutdown:
            try:
                await self._first_of(shutdown, self._run_parts())
            except (PartEnded, NoRedisServer) as error:
                self._say("dev", str(error))
                return EXIT_FAILED
            except VisitEnded as end:
                return end.exit_code
            finally:
                await self._stop(shutdown)
        return 0

    async def _first_of(self, shutdown: Shutdown, parts: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(parts)
        told = asyncio.create_task(shutdown.drain.wait())
        await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not running.done():
            self._say("dev", "ending; once more to hasten")
            running.cancel()
            await asyncio.wait([running])
        if not running.cancelled():
            running.result()

    async def _run_parts(self) -> None:
        redis_url = await self._redis_url()
        gateway, worker = self._make_parts(redis_url)
        self._parts = [gateway, worker]
        is_up = asyncio.Event()
        tasks = [
            asyncio.create_task(self._redis_end()),
            asyncio.create_task(self._gateway_life(gateway, worker, is_up)),
            asyncio.create_task(self._worker_life(worker, is_up)),
        ]
        try:
            # Each of them ends by raising only.
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _redis_url(self) -> str:
        if "redis_url" in self._settings.model_fields_set:
            self._say("redis", "using the Redis that is set")
            return self._settings.redis_url
        self._redis = EmbeddedRedis()
        await self._redis.start_async()
        self._say("redis", f"started at {self._redis.url}, data is temporary")
        return self._redis.url

    def _make_parts(self, redis_url: str) -> tuple[Part, Part]:
        # By environment, not by flag: the URL may hold a password, and everybody can read a command line.
        variable = variable_of("redis_url")
        environ = {name: value for name, value in os.environ.items() if name != f"{variable}_FILE"}
        environ |= {variable: redis_url, "PYTHONUNBUFFERED": "1", variable_of("processes"): "1"}
        environ.setdefault(variable_of("drain_timeout_s"), "1s")
        if find_spec("jambonz_sdk") is not None:
            environ.setdefault(variable_of("validate_verbs"), "on")
        else:
            self._say("dev", "verbs are not checked: pip install 'jambonz-cluster[sdk]'")
        self._internal_ports = {"gateway": free_port(), "worker": free_port()}
        command = [sys.executable, "-m", "jambonz_cluster"]
        address = ["--host", self._settings.host, "--port", str(self._settings.port)]
        gateway = [*command, "gateway", *address, "--internal-port", str(self._internal_ports["gateway"])]
        worker = [*command, "worker", self._application, "--internal-port", str(self._internal_ports["worker"])]
        return Part("gateway", gateway, environ, self._say), Part("worker", worker, environ, self._say)

    async def _gateway_life(self, gateway: Part, worker: Part, is_up: asyncio.Event) -> None:
        """Start the gateway once the worker is ready, announce, raise when it ends."""
        # The worker writes the manifest that tells the gateway which paths there are.
        await self._until_ready(worker)
        await gateway.start()
        ending = asyncio.create_task(gateway.ended())
        ready = asyncio.create_task(self._until_ready(gateway))
        try:
            await asyncio.wait([ending, ready], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await ready
                is_up.set()
                await self._welcome(ending)
            raise PartEnded(f"the gateway ended with exit code {await ending}")
        finally:
            ending.cancel()
            ready.cancel()

    async def _welcome(self, ending: "asyncio.Task[int]") -> None:
        """Say that all is ready; have the visit, if there is one, unless the gateway ends before."""
        url = websocket_url(self._settings.host, self._settings.port)
        self._say("dev", f"ready: {url}  (jambonz-cluster simulate {url}/PATH plays a call)")
        if self._visit is not None:
            visiting = asyncio.ensure_future(self._visit(url))
            await asyncio.wait([visiting, ending], return_when=asyncio.FIRST_COMPLETED)
            if visiting.done():
                raise VisitEnded(visiting.result())
            visiting.cancel()

    async def _until_ready(self, part: Part) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await _until_ready(self._internal_ports[part.name])
        except TimeoutError:
            raise PartEnded(f"the {part.name} is not ready after {READY_LIMIT_S:g} s; see the lines above") from None

    async def _redis_end(self) -> None:
        while self._redis is None or self._redis.is_running:
            await asyncio.sleep(_POLL_S)
        raise PartEnded("the Redis server ended")

    async def _worker_life(self, worker: Part, is_up: asyncio.Event) -> None:
        """Start the worker, again when a file changes; raise if it ends where no change can help."""
        changes = aiter(_changes()) if self._is_reloading else None
        change = asyncio.ensure_future(anext(changes)) if changes else None
        while True:
            await worker.start()
            ending = asyncio.create_task(worker.ended())
            await asyncio.wait([ending, *([change] if change else [])], return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                if change is None or not is_up.is_set():
                    raise PartEnded(f"the worker ended with exit code {ending.result()}")
                self._say("dev", f"the worker ended with exit code {ending.result()}; waiting for a change")
            ending.cancel()
            if change is not None and changes is not None:
                names = ", ".join(sorted(await change))
                self._say("dev", f"{names} changed: restarting the worker")
                change = asyncio.ensure_future(anext(changes))
            await worker.stop()

    async def _stop(self, shutdown: Shutdown) -> None:
        await asyncio.gather(*(part.stop(shutdown.haste) for part in self._parts))
        if self._redis is not None:
            self._redis.stop()


def websocket_url(host: str, port: int) -> str:
    """Return where somebody on this machine reaches what listens on an address."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing listens here
    name = everywhere.get(host, host)
    return f"ws://[{name}]:{port}" if ":" in name else f"ws://{name}:{port}"


async def _changes() -> AsyncIterator[set[str]]:
    """Yield the names of Python files that have changed below the working directory."""
    folder = Path.cwd()
    async for changes in awatch(folder, watch_filter=PythonFilter(), raise_interrupt=False):
        yield {str(Path(path).relative_to(folder)) for _, path in changes}


async def _until_ready(port: int) -> None:
    async with aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                # Not listening yet.
                pass
            await asyncio.sleep(_POLL_S)
