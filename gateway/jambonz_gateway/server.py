"""The composition root of a gateway process: builds it, runs it, drains it."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Final, cast

from jambonz_gateway.connection import Connection
from jambonz_gateway.dispatches import Dispatches
from jambonz_gateway.door import Door, Visitors
from jambonz_gateway.downlink import HELD_TTL_S, Identity
from jambonz_gateway.entrance import Gates
from jambonz_gateway.files import FollowedFiles
from jambonz_gateway.gateway import Gateway
from jambonz_gateway.peers import Proxies
from jambonz_gateway.tls import EXPIRES_SOON_S, Certificate
from jambonz_gateway.validity import Validity
from jambonz_shared.config import GatewaySettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.readiness import SILENCE_LIMIT_S, Pulse, redis_problem
from jambonz_shared.redis.wire import Reply
from jambonz_shared.runtime.garbage import tune_garbage_collection
from jambonz_shared.runtime.http import internal_http
from jambonz_shared.runtime.patience import wait_at_most
from jambonz_shared.runtime.rhythm import until_next_s
from jambonz_shared.runtime.signals import Shutdown, reload_signal, shutdown_signals

log = logging.getLogger(__name__)

_APPS_EVERY_S: Final = 2.0
_TRIM_EVERY_S: Final = 60.0
# A Redis that restarts or fails over is back by then (docs/benchmarks); what it has not taken is lost with us.
_LAST_WORDS_S: Final = 5.0
# How often the way out looks whether all calls have gone.
_DRAIN_LOOK_S: Final = 0.1


async def serve(settings: GatewaySettings, *, process_index: int = 0) -> None:
    """Run one gateway process until a signal ends it; return when it has drained.

    Raises:
        OSError: If a port cannot be listened on.
    """
    tune_garbage_collection()
    with shutdown_signals() as shutdown, reload_signal() as reload:
        await serve_until(shutdown, settings, process_index=process_index, reload=reload)


async def serve_until(
    shutdown: Shutdown, settings: GatewaySettings, *, process_index: int = 0, reload: asyncio.Event | None = None
) -> None:
    """Do as ``serve``, with the wishes to end and to read files again coming from elsewhere than signals."""
    server = _Server(settings, process_index, reload or asyncio.Event())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in server.background()]
        try:
            await server.run(shutdown)
        finally:
            server.gateway.wheel.stop()
            for task in tasks:
                task.cancel()


class _Server:
    def __init__(self, settings: GatewaySettings, process_index: int, reload: asyncio.Event) -> None:
        keys = Keys(settings.key_prefix)
        gateway_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        identity = Identity(gateway_id, keys, int(settings.call_ttl_s * 1000), int(settings.call_grace_s * 1000))
        backend = backend_of(settings.redis_url)
        self._settings: Final = settings
        self._internal_port: Final = settings.internal_port_of(process_index)
        self._link: Final = backend.link("gateway")
        self._link.linger_s = settings.redis_linger_s
        self._channels: Final = backend.channels(self._link, keys.canary(gateway_id), self._resubscribed)
        self.gateway: Final = Gateway(settings, identity, self._link, self._channels)
        self._link.on_failure = self.gateway.metrics.count_failure
        self._files: Final = FollowedFiles(reload, self._reload_failed)
        self._files.follow([settings.credentials_file], self.gateway.reception.read_credentials)
        self._certificate: Final = self._followed_certificate()
        self._door: Final = Door(
            settings.host,
            settings.port,
            visitors=Visitors(self._accept, self._lost),
            gates=gates_of(settings, self._certificate),
            is_shared=settings.processes > 1,
        )
        self._reopening: asyncio.Task[None] | None = None
        self._started_at_ms: Final = time.time_ns() // 1_000_000
        self._pulse: Final = Pulse()
        self._show_gauges()

    def background(self) -> list[Coroutine[None, None, None]]:
        """Return the coroutines that run beside the server."""
        return [
            self._link.run(),
            self._channels.run(),
            self._beat(),
            self._follow_apps(),
            self._renew(),
            self._trim(),
            self._files.run(),
        ]

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until told to end, then drain."""
        checks = {"redis": self._redis_check, "draining": self._drain_check, "room": self._room_check}
        async with contextlib.AsyncExitStack() as stack:
            if self._internal_port:
                await stack.enter_async_context(
                    internal_http(self._settings.host, self._internal_port, checks, self.gateway.metrics.registry)
                )
            # Manifests first: otherwise the first calls would find no app. Redis away is no reason to wait.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_LIMIT_S):
                    await self._link.wait_up()
                    await self.gateway.reception.refresh_apps()
            await self._door.open()
            self.gateway.on_gone = self._make_room
            log.info("gateway ready", extra={"port": self._door.port, "gateway_id": self.gateway.identity.gateway_id})
            await shutdown.drain.wait()
            await self._drain(shutdown)

    # The way out.

    async def _drain(self, shutdown: Shutdown) -> None:
        """Unready, wait for the load balancer, shut the door, move the calls, leave."""
        gateway, settings = self.gateway, self._settings
        gateway.is_draining = True
        log.info("gateway draining", extra={"calls": gateway.calls})
        await wait_at_most(shutdown.haste, settings.drain_delay_s)
        self._door.shut()
        await self._let_calls_end(shutdown, settings.drain_timeout_s)
        await self._move_calls(shutdown)
        await self._wait_for_redis(shutdown)
        await self._leave()
        log.info("gateway ended", extra={"calls_left": gateway.calls})

    async def _let_calls_end(self, shutdown: Shutdown, limit_s: float) -> None:
        until_s = time.monotonic() + limit_s
        while self.gateway.calls and time.monotonic() < until_s and not shutdown.haste.is_set():
            await wait_at_most(shutdown.haste, _DRAIN_LOOK_S)

    async def _move_calls(self, shutdown: Shutdown) -> None:
        """Send the calls that are left to other gateways, at a bounded rate, where nothing is owed."""
        gap_s = 1 / self._settings.move_rate
        for connection in list(self.gateway.connections):
            connection.drain()
            await wait_at_most(shutdown.haste, 0 if shutdown.haste.is_set() else gap_s)
        # Everything that is owed is answered by the deadline; after that each socket has been closed.
        until_s = time.monotonic() + self._settings.ack_deadline_s + 1
        while self.gateway.connections and time.monotonic() < until_s:
            await asyncio.sleep(_DRAIN_LOOK_S)

    async def _wait_for_redis(self, shutdown: Shutdown) -> None:
        """Let Redis take the last events and detachments; a Redis that is away may come back in time."""
        until_s = time.monotonic() + _LAST_WORDS_S
        while time.monotonic() < until_s and not self._is_done and not shutdown.haste.is_set():
            await asyncio.sleep(_DRAIN_LOOK_S)

    @property
    def _is_done(self) -> bool:
        return not self.gateway.sessions and self.gateway.uplink.is_idle

    async def _leave(self) -> None:
        """Sign off. With calls that Redis has not let go of, workers must find this process dead, and tidy up."""
        identity = self.gateway.identity
        keys = identity.keys
        if not self._is_done:
            log.warning("gateway leaves calls behind: Redis was away", extra={"calls": len(self.gateway.sessions)})
        elif self._link.is_up:
            self._link.send(_ignore, b"ZREM", keys.gateways, identity.gateway_id)
            with contextlib.suppress(Exception):
                await self._link.call(b"UNLINK", keys.gateway(identity.gateway_id), keys.held(identity.gateway_id))

    def _followed_certificate(self) -> Certificate | None:
        settings = self._settings
        if not settings.tls_certificate_file:
            return None
        certificate = Certificate(settings.tls_certificate_file, settings.tls_key_file)

        def read() -> None:
            certificate.read()
            tell_validity(certificate.validity, time.time())

        tell_validity(certificate.validity, time.time())
        self._files.follow([settings.tls_certificate_file, settings.tls_key_file], read)
        return certificate

    # Room.

    def _accept(self, address: str) -> asyncio.Protocol:
        connection = self.gateway.connection(address)
        if len(self.gateway.connections) >= self._settings.max_calls:
            # Not at once: what the loop has accepted together with this one still needs its server, or hangs.
            asyncio.get_running_loop().call_soon(self._shut_if_full)
        # It is one in all but name, see there.
        return cast("asyncio.Protocol", connection)

    def _lost(self, connection: asyncio.Protocol) -> None:
        assert isinstance(connection, Connection), "the door makes nothing else"
        self.gateway.gone(connection, None)

    def _shut_if_full(self) -> None:
        if self._door.is_open and len(self.gateway.connections) >= self._settings.max_calls:
            extra = {"connections": len(self.gateway.connections), "max_calls": self._settings.max_calls}
            log.warning("gateway full", extra=extra)
            self._door.shut()

    def _make_room(self) -> None:
        has_room = len(self.gateway.connections) < self._settings.max_calls
        if has_room and not self._door.is_open and not self.gateway.is_draining:
            self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        try:
            await self._door.open()
        except OSError as error:
            # The next call that ends tries again; /readyz says meanwhile that there is no room.
            log.error("websocket port cannot be listened on again", extra={"why": str(error)})

    # Beside the server.

    async def _beat(self) -> None:
        """Show life in Redis, from the moment it can be reached: who dies before its first beat is missed by nobody."""
        self._link.on_up(self._beat_once)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(until_next_s(loop.time(), self._settings.heartbeat_s))
            if self._link.is_up:
                self._beat_once()

    def _beat_once(self) -> None:
        """Write the heartbeat, what this process is, and the lease of its keys."""
        settings, identity = self._settings, self.gateway.identity
        keys, gateway_id = identity.keys, identity.gateway_id
        lease_ms = int(settings.lease_s * 1000)
        self._link.script(self._pulse, script.HEARTBEAT, *scripts.heartbeat_args(keys.gateways, gateway_id))
        self._link.send(self._lease_renewed, b"PEXPIRE", keys.gateway(gateway_id), lease_ms)
        about: dict[str, str | int] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at_ms": self._started_at_ms,
            "calls": self.gateway.calls,
            "capacity": settings.max_calls,
        }
        self._link.send(_ignore, b"HSET", keys.gateway(gateway_id), *(item for pair in about.items() for item in pair))
        self._link.send(_ignore, b"PEXPIRE", keys.gateway(gateway_id), lease_ms)
        self._link.send(_ignore, b"EXPIRE", keys.held(gateway_id), HELD_TTL_S)

    def _lease_renewed(self, reply: Reply) -> None:
        """The lease had run out: others may have taken this process for dead and have made its calls leave."""
        if reply == 0:
            self.gateway.downlink.attach_again()

    async def _follow_apps(self) -> None:
        """Read the manifests when a worker says that its own has changed; and now and then, should nobody be heard."""
        changed = asyncio.Event()
        self._channels.subscribe(self.gateway.identity.keys.apps_changed.encode(), lambda _: changed.set())
        while True:
            await wait_at_most(changed, _APPS_EVERY_S)
            changed.clear()
            await self.gateway.reception.refresh_apps()

    async def _renew(self) -> None:
        """Keep the keys of long calls alive."""
        while True:
            await asyncio.sleep(self._settings.call_ttl_s / 4)
            self.gateway.downlink.renew()

    async def _trim(self) -> None:
        """Take out of dispatch what is too old."""
        settings, gateway = self._settings, self.gateway
        dispatches = Dispatches(self._link, gateway.identity.keys, call_ttl_s=settings.call_ttl_s)
        while True:
            await self._link.wait_up()
            await gateway.reception.refresh_apps()
            await dispatches.trim({*gateway.reception.apps.names, *gateway.uplink.apps}, time.time_ns() // 1_000_000)
            await asyncio.sleep(_TRIM_EVERY_S)

    def _reload_failed(self) -> None:
        self.gateway.metrics.failed_reloads += 1

    def _resubscribed(self) -> None:
        self.gateway.downlink.resubscribed()

    # What /readyz says.

    def _redis_check(self) -> str | None:
        problem = redis_problem(self._link, self._pulse)
        return problem or (None if self._channels.is_up else "call channels are not subscribed")

    def _drain_check(self) -> str | None:
        return "the gateway is going away" if self.gateway.is_draining else None

    def _room_check(self) -> str | None:
        return None if self._door.is_open else "no room for another call, or not listening yet"

    def _show_gauges(self) -> None:
        gateway = self.gateway
        gauge = gateway.metrics.gauge
        gauge("calls", "Connections that carry a call", lambda: gateway.calls)
        gauge("followed_calls", "Calls whose channel is subscribed", lambda: gateway.downlink.calls)
        gauge("backlog_bytes", "Events that wait for Redis", lambda: gateway.uplink.backlog_bytes)
        gauge("held_bytes", "Events that wait for an owner", gateway.held_bytes)
        gauge("unanswered_bytes", "Hooks jambonz waits for", lambda: gateway.pools.unanswered.used_bytes)
        gauge("owed_acks", "Hooks jambonz waits for", gateway.owed_acks)
        gauge("tasks", "Tasks of the event loop", lambda: len(asyncio.all_tasks()))
        certificate = self._certificate
        until = "Unix second until which the certificate is good, 0 without one"
        gauge("certificate_good_until_seconds", until, lambda: certificate.validity.until_s if certificate else 0.0)
        gauge("redis_up", "1 while Redis answers", lambda: float(self._redis_check() is None))


def gates_of(settings: GatewaySettings, certificate: Certificate | None) -> Gates | None:
    """Return what a connection passes on its way in, ``None`` for nothing."""
    has_headers = settings.behind_proxy == "proxy-protocol"
    if certificate is None and not has_headers:
        return None
    proxies = Proxies.parse(settings.trusted_proxies if has_headers else "")
    return Gates(proxies, certificate.context if certificate else None)


def tell_validity(validity: Validity, now_s: float) -> None:
    """Log that a certificate is not good now, or not for long: jambonz refuses it, and nothing else tells of that."""
    until = datetime.fromtimestamp(validity.until_s, UTC).isoformat()
    if now_s > validity.until_s:
        log.error("certificate has expired: jambonz refuses it", extra={"good_until": until})
    elif now_s < validity.from_s:
        good_from = datetime.fromtimestamp(validity.from_s, UTC).isoformat()
        log.error("certificate is not good yet: jambonz refuses it", extra={"good_from": good_from})
    elif now_s > validity.until_s - EXPIRES_SOON_S:
        log.warning("certificate expires soon", extra={"good_until": until})


def _ignore(reply: Reply) -> None:
    """Take the reply of a command that is repeated anyway."""
