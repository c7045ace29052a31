"""Services of an SDK application: they give each event of a call to its session."""

from collections.abc import Mapping
from typing import Any, Final

from jambonz_sdk.websocket.client import WsClient  # type: ignore[import-untyped]

from jambonz_workers.app import App
from jambonz_workers.call import Call
from jambonz_workers.contrib.sdk.session import Session
from jambonz_workers.event import Event
from jambonz_workers.routing import session_paths

_NOTICES: Final = ("call:status", "verb:status", "llm:event", "llm:tool-call", "tts:tokens-result")
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
        self._sessions: dict[str, Session] = {}
        self.app.on("session:new")(self._session_new)
        self.app.on("session:redirect")(self._redirect)
        for kind in ("verb:hook", "dial:confirm"):
            self.app.on(kind)(self._hook)
        for kind in _NOTICES:
            self.app.on(kind)(self._notice)
        self.app.on("tts:streaming-event")(self._streaming_event)
        self.app.on_end(self._ended)
        self.app.takeover(self._revive)

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

    async def _session_new(self, call: Call, event: Event) -> object:
        service = self._service_of(call)
        if service is None:
            return _UNKNOWN
        session = self._sessions[call.sid] = Session(call, event.data)
        await service.emit("session:new", session)
        return None

    async def _revive(self, call: Call) -> Session | None:
        service = self._service_of(call)
        if service is None or call.sid in self._sessions or call.parent_call_sid:
            return self._sessions.get(call.sid)
        session = self._sessions[call.sid] = Session(call, dict(call.facts))
        session.is_resumed = True
        await service.emit("session:new", session)
        session.is_resumed = False
        return session

    def _session_of(self, call: Call) -> Session | None:
        # Messages of a leg went to its parent's session: they came over the same websocket.
        return self._sessions.get(call.sid) or self._sessions.get(call.parent_call_sid)

    async def _redirect(self, call: Call, event: Event) -> None:
        service, session = self._service_of(call), self._session_of(call) or await self._revive(call)
        if service and session:
            session.data = event.data
            await service.emit("session:redirect", session)

    async def _hook(self, call: Call, event: Event) -> None:
        session = self._session_of(call) or await self._revive(call)
        if session and not await session.emit(event.hook, event.data):
            await session.emit("verb:hook", event.hook, event.data)

    async def _notice(self, call: Call, event: Event) -> None:
        session = self._session_of(call)
        if session:
            await session.emit(event.kind, event.data)

    async def _streaming_event(self, call: Call, event: Event) -> None:
        session = self._session_of(call)
        if session:
            await session.emit(f"tts:{event.data.get('event_type', '')}", event.data)
            await session.emit("tts:streaming-event", event.data)

    async def _ended(self, call: Call) -> None:
        session = self._sessions.pop(call.sid, None)
        if session:
            await session.emit("close", 1000, "")
