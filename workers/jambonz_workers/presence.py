"""How a worker shows that it is there: manifest, inbox, heartbeat, a hash about itself."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, Final

from jambonz_shared.config import WorkerSettings
from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import Keys
from jambonz_shared.manifest import Manifest
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.readiness import Pulse
from jambonz_shared.redis.scripts import heartbeat_args, retire_args
from jambonz_shared.runtime.rhythm import until_next_s

log = logging.getLogger(__name__)

# What tells of a worker, its inbox above all, outlives it long enough to be adopted: when all workers have died, by the
# first one that comes back. An inbox that ran out with the lease took the events of a hung worker with it.
OWNED_TTL_MS: Final = 24 * 3600 * 1000


class Presence:
    """Keeps a worker's own keys alive. ``announce`` once, then ``run``; ``leave`` at the end.

    Attributes:
        load: Says how many calls the worker has.
        reader_id: Says which connection reads dispatch, by the number Redis has given it.
        on_adopted: Called when others have taken this worker for dead and have adopted its calls.
        on_forgotten: Called when Redis has lost its data under a connection that stands (FLUSHALL); the inbox is there
            again then.
        pulse: What Redis says to heartbeats.
        is_leaving: The inbox is gone for good; gateways must not find one again.
    """

    def __init__(self, link: Link, keys: Keys, worker_id: str, settings: WorkerSettings) -> None:
        self._link = link
        self._keys = keys
        self._worker_id = worker_id
        self._settings = settings
        self.load: Callable[[], int] = _none
        self.reader_id: Callable[[], int] = _none
        self.on_adopted: Callable[[], None] = _nothing
        self.on_forgotten: Callable[[], None] = _nothing
        self.pulse: Final = Pulse()
        self.is_leaving = False
        self._started_at_ms = round(time.time() * 1000)
        self._manifest: Manifest | None = None
        self._had_inbox = False
        # The manifest that ours has replaced.
        self._replaced: object = None

    async def announce(self, manifest: Manifest) -> None:
        """Publish the manifest, make the inbox and beat once. Once more if it has failed.

        Raises:
            LinkDown: If Redis is away.
            ResponseError: If it refuses.
        """
        self._manifest = manifest
        keys, app = self._keys, manifest.app
        known, _, _ = await asyncio.gather(
            self._link.call(b"SET", keys.app(app), manifest.encode(), b"GET"),
            self._link.call(b"SADD", keys.apps, app),
            self._link.call(b"PUBLISH", keys.apps_changed, app),
        )
        _warn_of_another_application(manifest, known)
        if known != manifest.encode():
            # Else a try before this one got so far.
            self._replaced = known
        self._beat(app)
        await self._link.call(b"PING")
        # A Redis that comes back empty must learn again what the app is.
        self._link.on_up(self._announce_again)

    def make_inbox(self) -> None:
        """Make the inbox again if Redis has lost it; before gateways hear of this worker, which write to none else."""
        self._make_inbox(_nothing)

    def tell_reader(self) -> None:
        """Say by which connection this worker reads dispatch; before the next heartbeat, should it hang until then.

        Who adopts it ends that connection: its read would get the events that are sent to the others.
        """
        key = self._keys.worker(self._worker_id)
        self._link.send(_ignore, b"HSET", key, b"reader", self.reader_id())
        self._link.send(_ignore, b"PEXPIRE", key, OWNED_TTL_MS)

    def look(self) -> None:
        """Look whether Redis still has the inbox: it has just refused a read, as one does that has lost its data."""
        self._link.send(self._inbox_renewed, b"PEXPIRE", self._keys.inbox(self._worker_id), OWNED_TTL_MS)

    def _make_inbox(self, not_adopted: Callable[[], None]) -> None:
        if self._manifest is None or self.is_leaving:
            return
        # Making a group is the one way to make a stream without an entry; it is refused if there is one.
        inbox = self._keys.inbox(self._worker_id)
        self._link.send(_ignore, b"XGROUP", b"CREATE", inbox, b"made", b"$", b"MKSTREAM")
        self._link.send(_ignore, b"PEXPIRE", inbox, OWNED_TTL_MS)
        on_reply = partial(self._looked_for_adopter, not_adopted)
        self._link.send(on_reply, b"DEL", self._keys.adopted(self._worker_id))

    async def run(self) -> None:
        """Beat until cancelled."""
        assert self._manifest is not None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(until_next_s(loop.time(), self._settings.heartbeat_s))
            if self._link.is_up:
                self._beat(self._manifest.app)

    async def leave(self) -> None:
        """Remove what shows that the worker is there; its calls must be given up before.

        If it has entries of dispatch yet, that stays: then the others find it dead, and adopt what it leaves behind.

        Raises:
            LinkDown: If Redis is away; the keys run out by themselves then.
        """
        assert self._manifest is not None
        keys, worker_id = self._keys, self._worker_id
        is_retired = await self._link.script_call(
            script.RETIRE, *retire_args(keys.dispatch(self._manifest.app), worker_id)
        )
        if not is_retired:
            log.warning("events could not be handed on; other workers adopt them", extra={"worker": worker_id})
            return
        await asyncio.gather(
            self._link.call(b"ZREM", keys.workers, worker_id),
            self._link.call(b"DEL", *keys.of_worker(worker_id)),
        )

    def _beat(self, app: str) -> None:
        link, keys, worker_id = self._link, self._keys, self._worker_id
        link.script(self.pulse, script.HEARTBEAT, *heartbeat_args(keys.workers, worker_id))
        self.look()
        about: dict[str, str | int] = {
            "app": app,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "calls": self.load(),
            "reader": self.reader_id(),
            "capacity": self._settings.max_calls,
            "started_at_ms": self._started_at_ms,
        }
        link.send(_ignore, b"HSET", keys.worker(worker_id), *chain.from_iterable(about.items()))
        # Outlives the worker: who adopts it must know its app.
        link.send(_ignore, b"PEXPIRE", keys.worker(worker_id), OWNED_TTL_MS)
        for key in (keys.owned(worker_id), keys.begun(worker_id)):
            link.send(_ignore, b"PEXPIRE", key, OWNED_TTL_MS)

    def _inbox_renewed(self, reply: Any) -> None:
        # Not there: the first beat, or Redis lost its data, or the others took us for dead.
        if reply == 0:
            self._make_inbox(self._forgotten if self._had_inbox else _nothing)
        self._had_inbox = reply == 1 or (self._had_inbox and reply != 0)

    def _looked_for_adopter(self, not_adopted: Callable[[], None], reply: Any) -> None:
        if reply == 1:
            self.on_adopted()
        elif reply == 0:
            not_adopted()

    def _forgotten(self) -> None:
        """Redis has lost the inbox, and nobody has taken it: a FLUSHALL, or a Redis that was emptied otherwise."""
        log.warning("redis has lost its data; what is known is written down again", extra={"calls": self.load()})
        self.on_forgotten()
        self._announce_again()

    def _announce_again(self) -> None:
        assert self._manifest is not None
        keys, app = self._keys, self._manifest.app
        self._link.send(self._looked_up, b"GET", keys.app(app))
        self._link.send(_ignore, b"SADD", keys.apps, app)
        self._beat(app)

    def _looked_up(self, reply: Any) -> None:
        # In a roll-out a newer worker may have said more than this one knows; a Redis that went back may know less.
        if self._manifest is not None and (reply is None or reply == self._replaced):
            app = self._manifest.app
            self._link.send(_ignore, b"SET", self._keys.app(app), self._manifest.encode())
            self._link.send(_ignore, b"PUBLISH", self._keys.apps_changed, app)


def _warn_of_another_application(manifest: Manifest, known: object) -> None:
    """Two applications of one name would take each other's calls, and hide each other's paths from the gateways."""
    if not isinstance(known, bytes):
        return
    try:
        gone = set(Manifest.decode(known).paths) - set(manifest.paths)
    except BadFormat:
        return
    if gone and not manifest.is_open:
        log.warning(
            "sessions of this app are known that this worker has not; two applications need two names",
            extra={"app": manifest.app, "sessions": " ".join(sorted(gone))},
        )


def _none() -> int:
    """Stand in for who has not been asked yet."""
    return 0


def _nothing() -> None:
    """Nobody wants to know."""


def _ignore(_: object) -> None:
    """A beat that is lost is followed by the next one."""
