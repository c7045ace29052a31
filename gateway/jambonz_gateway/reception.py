"""Answers HTTP requests on the websocket port: knows the apps, asks for credentials, opens the door to a Session."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, assert_never

from jambonz_gateway.apps import Apps, KnownApp, app_of, apps_at_any_path
from jambonz_gateway.bucket import Bucket
from jambonz_gateway.connection import Connection
from jambonz_gateway.handshake import Answer, Decision, UnknownPath, Welcome, decide, not_found
from jambonz_gateway.logins import Denied, Granted, Logins, Unproven, Waiting
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.peers import FORWARDED, X_FORWARDED_FOR, Proxies, is_proxy_header
from jambonz_gateway.upgrade import Asked
from jambonz_shared.config import GatewaySettings
from jambonz_shared.credentials import ANY_APP, SALT_BYTES, Credential, SecretHash, read_credentials
from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import Keys
from jambonz_shared.manifest import Manifest
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.wire import Reply

log = logging.getLogger(__name__)

# The handshake must be answered in 1.5 s (PROTOCOL.md 1.1); newer manifests are waited for this long.
_MANIFEST_LIMIT_S: Final = 0.5
# Strangers may ask for unknown paths without a login, and each time all manifests are read again.
_MANIFEST_GAP_S: Final = 0.1
# One slow hash takes some 50 ms: who comes later than this many would be answered too late.
_PROOFS_MAX: Final = 20
# An operator looks into the log for a misspelt path; a scanner that tries thousands must not fill it.
_UNKNOWN_PATHS_PER_S: Final = 0.1
_UNKNOWN_PATHS_AT_ONCE: Final = 10

# Which header each value of the setting names.
_HEADERS: Final = {"headers": X_FORWARDED_FOR, X_FORWARDED_FOR: X_FORWARDED_FOR, FORWARDED: FORWARDED}


class Reception:
    """Decides on each request. ``refresh_apps`` keeps the apps current, ``read_credentials`` the credentials.

    Attributes:
        apps: The manifests known now.
    """

    def __init__(
        self, settings: GatewaySettings, keys: Keys, link: Link, metrics: Metrics, *, on_apps: Callable[[Apps], None]
    ) -> None:
        self.apps = Apps()
        self._settings: Final = settings
        self._keys: Final = keys
        self._link: Final = link
        self._metrics: Final = metrics
        self._on_apps: Final = on_apps
        self._manifests: dict[bytes, Reply] = {}
        self._fresh_apps: asyncio.Task[None] | None = None
        self._fresh_apps_from_s = 0.0
        self._loop: Final = asyncio.get_running_loop()
        self._logins: Final = Logins(os.urandom(32), failures_per_minute=settings.max_login_failures)
        header = _HEADERS.get(settings.behind_proxy)
        self._forwarders: Final = Proxies.parse(settings.trusted_proxies if header else "", header or "")
        # One thread: hashes must not take all cores from the calls that live.
        self._prover: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proof")
        self._proofs: Final[dict[bytes, asyncio.Event]] = {}
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._unknown_paths: Final = Bucket(_UNKNOWN_PATHS_PER_S, _UNKNOWN_PATHS_AT_ONCE, self._loop.time())
        self._proxy_headers: Final = Bucket(_UNKNOWN_PATHS_PER_S, _UNKNOWN_PATHS_AT_ONCE, self._loop.time())
        self.read_credentials()

    def read_credentials(self) -> None:
        """Ask for the credentials of the settings and of ``credentials_file`` from now on; open websockets stay.

        Raises:
            OSError: If the file cannot be read; the old credentials are asked for as before.
            ValueError: If it cannot be understood; likewise.
        """
        settings = self._settings
        found = read_credentials(settings.credentials.get_secret_value()) if settings.credentials else []
        if settings.credentials_file:
            found += read_credentials(Path(settings.credentials_file).read_text(encoding="utf-8"))
        if settings.basic_auth is not None:
            user, _, password = settings.basic_auth.get_secret_value().partition(":")
            # The settings hold it as plain text: a slow hash in memory would protect nothing.
            own = SecretHash.of(password, os.urandom(SALT_BYTES), log2_n=0)
            found.append(Credential(frozenset({ANY_APP}), user, own))
        self._logins.use(found)

    def requested(self, connection: Connection, asked: Asked) -> None:
        """Decide on a request, now or soon: a login may need a slow hash, an unknown path newer manifests."""
        connection.address = self._forwarders.client(connection.address, asked.headers)
        self._ask(connection, asked)

    def unusual(self, connection: Connection, data: bytes) -> None:
        """Tell of a PROXY header that nobody expects: the gateway, or its list of proxies, disagrees with the proxy.

        All calls are lost then. Strangers can send one, too, so there is a line now and then only.
        """
        if is_proxy_header(data) and self._proxy_headers.has_room(self._loop.time()):
            why = (
                "its address is not in JAMBONZ_CLUSTER_TRUSTED_PROXIES"
                if self._settings.behind_proxy == "proxy-protocol"
                else "JAMBONZ_CLUSTER_BEHIND_PROXY is not proxy-protocol"
            )
            log.warning(
                "unexpected PROXY header: connection refused", extra={"address": connection.address, "why": why}
            )

    async def refresh_apps(self) -> None:
        """Read all manifests from Redis; the last known ones stay if it is away."""
        try:
            names = await self._link.call(b"SMEMBERS", self._keys.apps)
            assert isinstance(names, list)
            # One by one: in a Redis Cluster they lie on different servers.
            raws = await asyncio.gather(*(self._link.call(b"GET", self._keys.app(name.decode())) for name in names))
        except (LinkError, ResponseError):
            return
        if (manifests := dict(zip(names, raws, strict=True))) == self._manifests:
            # Nearly always; telling thousands of Sessions takes milliseconds.
            return
        self._manifests = manifests
        # One that cannot be read, by a worker of a newer version perhaps, leaves its app as it was.
        read = [(name.decode(), self._read(raw)) for name, raw in manifests.items() if isinstance(raw, bytes)]
        known = [app or self.apps.named(name) for name, app in read if app or name in self.apps]
        if known:
            self.apps = Apps(known)
            self._on_apps(self.apps)

    # Credentials.

    def _ask(self, connection: Connection, asked: Asked) -> None:
        if asked.method == "OPTIONS":
            # The portal sends no credentials (PROTOCOL.md 8.1).
            self._decide(connection, asked, Granted())
            return
        address = connection.address
        login = self._logins.ask(asked.headers.get("authorization"), address, self._loop.time())
        match login:
            case Unproven() if login.is_slow:
                self._start(self._prove(connection, asked, login))
            case Unproven():
                self._judge(connection, asked, login, login.prove())
            case Waiting(fingerprint):
                self._start(self._wait(connection, asked, fingerprint))
            case Granted() | Denied():
                self._decide(connection, asked, login)
            case _:
                assert_never(login)

    def _judge(self, connection: Connection, asked: Asked, login: Unproven, apps: frozenset[str]) -> None:
        judgement = self._logins.proved(login, apps, self._loop.time())
        if judgement is None:
            self._ask(connection, asked)
            return
        if isinstance(judgement, Denied):
            # Once for each secret that was tried; never the user, which may be a password in the wrong field.
            log.warning("login refused", extra={"address": connection.address})
        self._decide(connection, asked, judgement)

    async def _prove(self, connection: Connection, asked: Asked, login: Unproven) -> None:
        if len(self._proofs) >= _PROOFS_MAX:
            self._logins.given_up(login, self._loop.time())
            self._metrics.unproved_logins += 1
            # A reset: jambonz tries again, which it would not after an HTTP error (PROTOCOL.md 1.2).
            connection.close(1013, "too many logins")
            return
        done = self._proofs[login.fingerprint] = asyncio.Event()
        try:
            apps = await self._loop.run_in_executor(self._prover, login.prove)
        except Exception as error:
            self._metrics.failures += 1
            log.error("login could not be proved", exc_info=error, extra={"address": login.address})
            self._logins.given_up(login, self._loop.time())
            connection.close(1011, "internal error")
            return
        finally:
            del self._proofs[login.fingerprint]
            done.set()
        self._judge(connection, asked, login, apps)

    async def _wait(self, connection: Connection, asked: Asked, fingerprint: bytes) -> None:
        if done := self._proofs.get(fingerprint):
            await done.wait()
        self._ask(connection, asked)

    # Paths.

    def _decide(self, connection: Connection, asked: Asked, login: Granted | Denied) -> None:
        decision = _decision(asked, self.apps, login)
        if isinstance(decision, UnknownPath):
            assert isinstance(login, Granted), "who is denied hears nothing of paths"
            self._start(self._decide_again(connection, asked, login))
        else:
            self._carry_out(connection, asked, decision)

    async def _decide_again(self, connection: Connection, asked: Asked, login: Granted) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MANIFEST_LIMIT_S):
                # The others who wait for it must not hear that this one gives up.
                await asyncio.shield(self._refreshed_apps())
        decision = _decision(asked, self.apps or apps_at_any_path(login.apps), login)
        if isinstance(decision, UnknownPath):
            self._tell_unknown(connection, decision.path, login)
            decision = not_found(decision.path)
        self._carry_out(connection, asked, decision)

    def _refreshed_apps(self) -> "asyncio.Task[None]":
        """Return the next reading of all manifests: one for all who ask before it begins."""
        if self._fresh_apps is None:
            self._fresh_apps = self._start(self._refresh_soon())
        return self._fresh_apps

    async def _refresh_soon(self) -> None:
        now_s = self._loop.time()
        await asyncio.sleep(self._fresh_apps_from_s - now_s)
        self._fresh_apps = None
        self._fresh_apps_from_s = max(now_s, self._fresh_apps_from_s) + _MANIFEST_GAP_S
        await self.refresh_apps()

    def _tell_unknown(self, connection: Connection, path: str, login: Granted) -> None:
        """Log it, unless there were many lately; without the path, which may hold secrets."""
        if not self._unknown_paths.has_room(self._loop.time()):
            return
        extra = {"address": connection.address, "path_length": len(path), "apps": ", ".join(self.apps.names)}
        if login.apps is not None:
            # "ivr:acme:..." opens the app named ivr, and not the path /ivr of another one.
            extra["login_is_for"] = ", ".join(sorted(login.apps))
        log.warning("no app takes the path of a request: it gets 404", extra=extra)

    def _carry_out(self, connection: Connection, asked: Asked, decision: Welcome | Answer) -> None:
        if isinstance(decision, Welcome):
            self._metrics.handshakes[connection.welcome(decision, asked)] += 1
        else:
            # RFC 9110 9.3.2: some balancers look with HEAD whether anybody is there.
            connection.answer(replace(decision, body=b"") if asked.method == "HEAD" else decision)
            self._metrics.handshakes[decision.status] += 1

    def _read(self, raw: bytes) -> KnownApp | None:
        try:
            manifest = Manifest.decode(raw)
        except BadFormat as error:
            self._metrics.failures += 1
            log.error("manifest cannot be read", extra={"why": str(error)})
            return None
        for fault in manifest.faults:
            self._metrics.failures += 1
            log.error("fallback of an app cannot be used", extra={"app": manifest.app, "why": fault})
        return app_of(manifest)

    def _start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _decision(asked: Asked, apps: Apps, login: Granted | Denied) -> Decision:
    return decide(asked.method, asked.target, asked.headers, apps=apps, login=login)
