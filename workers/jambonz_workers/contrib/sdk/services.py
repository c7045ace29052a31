"""Services of an SDK application: they give each event of a call to its session."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from jambonz_sdk.websocket.client import WsClient  # type: ignore[import-untyped]

from jambonz_shared.paths import session_paths
from jambonz_workers.app import App
from jambonz_workers.call import Call
from jambonz_workers.contrib.sdk.session import Session, at_work
from jambonz_workers.event import Event

log = logging.getLogger(__name__)

_NOTICES: Final = ("call:status", "verb:status", "llm:event", "tts:tokens-result")
_UNKNOWN: Final = [{"verb": "sip:decline", "status": 404}]


class Service(WsClient):  # type: ignore[misc]
    """The service of one path: ``on("session:new", handler)``."""

    async def emit(self, event: str, *args: Any) -> bool:
        """Run the handlers of an event; False if there is none."""
        found: bool = await self._emit_async(event, *args)
        return found


class Services:
    """What ``create_endpoint`` gives for registering services: ``make_service(path="/")``.

    Attributes:
        app: The application of the cluster that runs them.
    """

    def __init__(self, env_vars: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.app = App(env=env_vars)
        self._services: dict[str, Service] = {}
        # Of the calls that live here: each is kept by its Call, also when that is lost to another worker.
        self._sessions: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self.app.on("session:new")(self._session_new)
        self.app.on("session:redirect")(self._redirect)
        for kind in ("verb:hook", "dial:confirm"):
            self.app.on(kind)(self._hook)
        for kind in _NOTICES:
            self.app.on(kind)(self._notice)
        self.app.on("llm:tool-call")(self._tool_call)
        self.app.on("tts:streaming-event")(self._streaming_event)
        self.app.on_end(self._ended)
        self.app.takeover(self._takeover)

    def __call__(self, *, path: str = "/") -> Service:
        """Register a service for calls whose websocket is opened at ``path``."""
        service = self._services[path.rstrip("/") or "/"] = Service(path)
        return service

    def audio(self, *, path: str) -> None:
        """Audio sockets come to the application's own server, not to the cluster.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"audio at {path!r}: the cluster carries call control only; serve audio beside it")

    def _service_of(self, call: Call) -> Service | None:
        found = (self._services.get(path) for path in session_paths(call.path, self.app.name))
        return next((service for service in found if service), None)

    @asynccontextmanager
    async def _at_work(self, session: Session) -> AsyncIterator[None]:
        """Run what is inside as the session's, and its ``error`` handlers and the service's if that fails.

        They may still answer the hook. The failure goes on to the worker, which logs it.
        """
        token = at_work.set(session)
        try:
            yield
        except Exception as error:
            await session.emit("error", error)
            if service := self._service_of(session.call):
                await service.emit("error", error)
            raise
        finally:
            at_work.reset(token)

    def _keep(self, session: Session) -> Session:
        session.call.companion = self._sessions[session.call.sid] = session
        return session

    async def _session_new(self, call: Call, event: Event) -> object:
        service = self._service_of(call)
        if service is None:
            return _UNKNOWN
        session = self._keep(Session(call, event.data))
        async with self._at_work(session):
            await service.emit("session:new", session)
        return None

    async def _takeover(self, call: Call) -> None:
        # A leg on its parent's websocket waits for its next event: the parent, whose handlers it shares, comes, too.
        if call.has_own_socket:
            await self._revived(call)

    async def _revived(self, call: Call) -> Session | None:
        """Return the session of a call; one that another worker began has the ``session:new`` handler run again."""
        service, session = self._service_of(call), self._session_of(call)
        if service is None or session:
            return session
        session = Session(call, dict(call.facts))
        try:
            with session.resumed():
                async with self._at_work(session):
                    await service.emit("session:new", session)
        except Exception:
            # The event that comes next is still to be handled, by what has been registered so far.
            log.exception("session:new handler failed for a call taken over", extra={"call_sid": call.sid})
            if not session.has_handlers:
                # It is tried again with the next event.
                return None
        return self._keep(session)

    def _session_of(self, call: Call) -> Session | None:
        """Return the session of a call that is known here; a leg's is made when the leg is first heard of."""
        if isinstance(call.companion, Session):
            return call.companion
        parent = self._sessions.get(call.parent_call_sid)
        return self._keep(Session(call, dict(call.facts), parent)) if parent and not parent.call.over else None

    async def _redirect(self, call: Call, event: Event) -> None:
        service, session = self._service_of(call), await self._revived(call)
        if service and session:
            session.data = event.data
            async with self._at_work(session):
                await service.emit("session:redirect", session)

    async def _hook(self, call: Call, event: Event) -> None:
        session = await self._revived(call)
        if session:
            async with self._at_work(session):
                if not await session.emit(event.hook, event.data):
                    await session.emit("verb:hook", event.hook, event.data)

    async def _notice(self, call: Call, event: Event) -> None:
        session = self._session_of(call)
        if session:
            async with self._at_work(session):
                await session.emit(event.kind, event.data)

    async def _tool_call(self, call: Call, event: Event) -> None:
        if session := self._session_of(call):
            session.note_tools(event)
        await self._notice(call, event)

    async def _streaming_event(self, call: Call, event: Event) -> None:
        session = self._session_of(call)
        if session:
            async with self._at_work(session):
                await session.emit(f"tts:{event.data.get('event_type', '')}", event.data)
                await session.emit("tts:streaming-event", event.data)

    async def _ended(self, call: Call) -> None:
        if isinstance(call.companion, Session):
            async with self._at_work(call.companion):
                await call.companion.closed()
