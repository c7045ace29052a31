"""What `jambonz-cluster status` does: tells which processes live, how loaded they are, and what waits for them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import click

from jambonz_cluster.connected import with_link
from jambonz_cluster.options import EXIT_FAILED
from jambonz_cluster.output import json_text
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.registry import heartbeats

READ_LIMIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """One gateway or worker, as it last described itself.

    Attributes:
        app: The app of a worker; empty for a gateway.
        calls: Connections of a gateway, Calls owned by a worker.
        capacity: Calls at which it takes no more.
        silent_ms: Age of its last heartbeat on the Redis clock.
    """

    id: str
    app: str
    host: str
    pid: int
    calls: int
    capacity: int
    started_at_ms: int
    silent_ms: int


@dataclass(frozen=True, slots=True)
class AppStatus:
    """One app that ever had a worker.

    Attributes:
        waiting: Events that no worker has taken yet.
        silent_ms: Age of the youngest heartbeat of its workers, on the Redis clock; -1 if none is known.
    """

    name: str
    workers: int
    waiting: int
    silent_ms: int = -1


@dataclass(frozen=True, slots=True)
class Status:
    """The cluster at one moment of the Redis clock.

    Attributes:
        gateways_silent_ms: Age of the youngest heartbeat of a gateway; -1 if none is known.
        refusal: What Redis says to heartbeats, such as ``OOM`` or ``READONLY``: who is silent may live then. Empty if
            it takes them, and if all are heard of.
    """

    at_ms: int
    gateways: tuple[Process, ...]
    workers: tuple[Process, ...]
    apps: tuple[AppStatus, ...]
    gateways_silent_ms: int = -1
    refusal: str = ""

    @property
    def calls(self) -> int:
        """Connections that carry a call, on all gateways."""
        return sum(gateway.calls for gateway in self.gateways)

    def problems(self) -> list[str]:
        """Return what keeps the cluster from taking calls; empty if nothing does."""
        found = []
        if self.refusal:
            found.append(f"Redis refuses heartbeats: {self.refusal}; who is silent may live all the same")
        if not self.gateways:
            found.append(self._missing("no gateway", self.gateways_silent_ms))
        if not self.apps:
            found.append("no app is known: start a worker")
        found += [
            self._missing(f"no worker of the app {app.name!r}", app.silent_ms) for app in self.apps if not app.workers
        ]
        return found

    def _missing(self, who: str, silent_ms: int) -> str:
        if silent_ms < 0:
            return f"{who} lives"
        heard = f"the last one was heard of {silent_ms / 1000:.0f} s ago"
        return f"{who} is heard of: {heard}" if self.refusal else f"{who} lives: {heard}"

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self) | {"calls": self.calls, "problems": self.problems()}


async def read_status(link: Link, keys: Keys, lease_s: float) -> Status:
    """Return the status now; a process that has been silent for longer than ``lease_s`` does not count as living.

    Raises:
        LinkError: If Redis goes away meanwhile.
        ResponseError: If it refuses.
        TimeoutError: If it does not answer within 2 s.
    """
    names: Any
    async with asyncio.timeout(READ_LIMIT_S):
        names = await link.call(b"SMEMBERS", keys.apps)
        apps = sorted(name.decode() for name in names)
        _, gateways = await _processes(link, keys.gateways, keys.gateway)
        now_ms, workers = await _processes(link, keys.workers, keys.worker)
        waiting: Any = await asyncio.gather(*(link.call(b"XLEN", keys.dispatch(app)) for app in apps))
        is_alive = partial(_is_alive, lease_s=lease_s)
        is_somebody_silent = not all(map(is_alive, (*gateways, *workers)))
        refusal = await _refusal(link, keys) if is_somebody_silent else ""
    living = tuple(filter(is_alive, workers))
    rows = (
        AppStatus(
            app,
            sum(worker.app == app for worker in living),
            int(length),
            _silent_ms(worker for worker in workers if worker.app == app),
        )
        for app, length in zip(apps, waiting, strict=True)
    )
    gateways_silent_ms = _silent_ms(gateways)
    return Status(now_ms, tuple(filter(is_alive, gateways)), living, tuple(rows), gateways_silent_ms, refusal)


async def _processes(link: Link, registry: str, key_of: Callable[[str], str]) -> tuple[int, tuple[Process, ...]]:
    """Return the clock that the heartbeats were taken by, and the processes that have not signed off.

    The dead stay in the registry until a worker has adopted their calls. A worker's hash stays for as long; that of a
    gateway goes with its lease.
    """
    now_ms, beats = await heartbeats(link, registry)
    hashes: Any = await asyncio.gather(*(link.call(b"HGETALL", key_of(process_id)) for process_id in beats))
    found = [
        _process(process_id, dict(zip(fields[::2], fields[1::2], strict=True)), now_ms - beat_ms)
        for (process_id, beat_ms), fields in zip(beats.items(), hashes, strict=True)
    ]
    return now_ms, tuple(sorted(found, key=lambda process: process.id))


async def _refusal(link: Link, keys: Keys) -> str:
    """Return the word with which Redis refuses a heartbeat, empty if it takes one; this one changes nothing."""
    try:
        await link.call(b"ZADD", keys.gateways, b"XX", 0, b"")
    except ResponseError as error:
        return error.code
    return ""


def _is_alive(process: Process, lease_s: float) -> bool:
    # Without a capacity it has never described itself, or its hash is gone.
    return process.capacity > 0 and process.silent_ms <= lease_s * 1000


def _silent_ms(processes: Iterable[Process]) -> int:
    return min((process.silent_ms for process in processes), default=-1)


def _process(process_id: str, fields: dict[bytes, bytes], silent_ms: int) -> Process:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode()

    def number(name: bytes) -> int:
        return int(fields.get(name, b"0"))

    return Process(
        id=process_id,
        app=text(b"app"),
        host=text(b"host"),
        pid=number(b"pid"),
        calls=number(b"calls"),
        capacity=number(b"capacity"),
        started_at_ms=number(b"started_at_ms"),
        silent_ms=max(0, silent_ms),
    )


def status_text(status: Status) -> str:
    """Return the status for people, one line for each process and app."""
    lines = [f"{status.calls} calls, {len(status.gateways)} gateways, {len(status.workers)} workers"]
    for role, processes in (("gateway", status.gateways), ("worker", status.workers)):
        lines += [_process_line(role, process) for process in processes]
    lines += [f"app      {app.name}: {app.workers} workers, {app.waiting} events wait" for app in status.apps]
    lines += [f"problem  {problem}" for problem in status.problems()]
    return "\n".join(lines)


def _process_line(role: str, process: Process) -> str:
    load = f"{process.calls} of {process.capacity} calls"
    return f"{role:<8} {process.id}  {load}, heard of {process.silent_ms} ms ago"


def show_status(settings: CommonSettings, *, as_json: bool) -> int:
    """Print the status once; return 0 if calls can be taken, else 1."""

    async def ask(link: Link, keys: Keys) -> Status:
        return await read_status(link, keys, settings.lease_s)

    def show(status: Status) -> int:
        click.echo(json_text(status.to_json()) if as_json else status_text(status))
        return EXIT_FAILED if status.problems() else 0

    return with_link(settings, ask, show)
