"""What `jambonz-cluster status` does: tells which processes live, how loaded they are, and what waits for them."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from jambonz_cluster.connected import with_link
from jambonz_cluster.options import EXIT_FAILED
from jambonz_cluster.output import json_text
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
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
    """One app that ever had a worker; ``waiting`` events have been taken by no worker yet."""

    name: str
    workers: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Status:
    """The cluster at one moment of the Redis clock."""

    at_ms: int
    gateways: tuple[Process, ...]
    workers: tuple[Process, ...]
    apps: tuple[AppStatus, ...]

    @property
    def calls(self) -> int:
        """Connections that carry a call, on all gateways."""
        return sum(gateway.calls for gateway in self.gateways)

    def problems(self) -> list[str]:
        """Return what keeps the cluster from taking calls; empty if nothing does."""
        found = [] if self.gateways else ["no gateway lives"]
        if not self.apps:
            found.append("no app is known: start a worker")
        found += [f"no worker of the app {app.name!r} lives" for app in self.apps if not app.workers]
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self) | {"calls": self.calls, "problems": self.problems()}


async def read_status(link: Link, keys: Keys, lease_s: float) -> Status:
    """Return the status now; a process that has been silent for longer than ``lease_s`` does not live.

    Raises:
        LinkError: If Redis goes away meanwhile.
        ResponseError: If it refuses.
        TimeoutError: If it does not answer within 2 s.
    """
    names: Any
    async with asyncio.timeout(READ_LIMIT_S):
        names = await link.call(b"SMEMBERS", keys.apps)
        apps = sorted(name.decode() for name in names)
        _, gateways = await _processes(link, keys.gateways, keys.gateway, lease_s)
        now_ms, workers = await _processes(link, keys.workers, keys.worker, lease_s)
        waiting: Any = await asyncio.gather(*(link.call(b"XLEN", keys.dispatch(app)) for app in apps))
    rows = (
        AppStatus(app, sum(worker.app == app for worker in workers), int(length))
        for app, length in zip(apps, waiting, strict=True)
    )
    return Status(now_ms, gateways, workers, tuple(rows))


async def _processes(
    link: Link, registry: str, key_of: Callable[[str], str], lease_s: float
) -> tuple[int, tuple[Process, ...]]:
    """Return the clock that the heartbeats were taken by, and the processes that live."""
    now_ms, beats = await heartbeats(link, registry)
    hashes: Any = await asyncio.gather(*(link.call(b"HGETALL", key_of(process_id)) for process_id in beats))
    # The dead stay in the registry until a worker has adopted their calls, and a worker's hash stays for as long.
    found = [
        _process(process_id, dict(zip(fields[::2], fields[1::2], strict=True)), now_ms - beat_ms)
        for (process_id, beat_ms), fields in zip(beats.items(), hashes, strict=True)
        if fields and now_ms - beat_ms <= lease_s * 1000
    ]
    return now_ms, tuple(sorted(found, key=lambda process: process.id))


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
