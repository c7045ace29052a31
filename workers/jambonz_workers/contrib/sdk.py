"""Runs applications written for ``jambonz_sdk.websocket`` on the cluster: change the import, nothing else.

What differs, and must: the gateway listens, so ``host`` and ``port`` mean nothing here. Handlers that an application
registers on a session live in one worker's memory; when another worker takes a call over, the ``session:new`` handler
runs there again with ``session.is_resumed`` true and everything it sends left out, and ``session.locals`` is empty.
"""

import asyncio
import logging
import signal
from collections.abc import Mapping
from typing import Any, Final

from jambonz_sdk.websocket.client import WsClient  # type: ignore[import-untyped]
from jambonz_sdk.websocket.session import Session as SdkSession  # type: ignore[import-untyped]

from jambonz_shared.config import WorkerSettings, load_settings
from jambonz_shared.runtime.signals import Shutdown, shutdown_signals
from jambonz_workers import commands
from jambonz_workers.app import App
from jambonz_workers.call import Call
from jambonz_workers.event import Event
from jambonz_workers.routing import session_paths
from jambonz_workers.tool_answers import Asked, Told, answer_of
from jambonz_workers.verbs import verb_list
from jambonz_workers.worker import run

__all__ = ["Runner", "Service", "Services", "Session", "create_endpoint"]

log = logging.getLogger(__name__)

_NOTICES: Final = ("call:status", "verb:status", "llm:event", "llm:tool-call", "tts:tokens-result")
# Outputs that are in a vendor's shape already.
_SHAPED: Final = frozenset({"type", "data", "toolResponse", "result"})
_UNKNOWN: Final = [{"verb": "sip:decline", "status": 404}]


class Session(SdkSession):  # type: ignore[misc]
    """The SDK's session, with wire shapes that jambonz accepts (PROTOCOL.md 3.5).

    Attributes:
        call: The call underneath, for what the SDK does not have.
        is_resumed: Another worker began this call; nothing that the ``session:new`` handler sends goes out.
    """

    def __init__(self, call: Call, data: dict[str, Any]) -> None:
        super().__init__(None, {**data, "call_sid": call.sid}, "")
        self.call = call
        self.is_resumed = False

    async def send(self, **_: Any) -> None:
        """Answer ``session:new`` with the verbs built so far."""
        await self._answer()

    async def reply(self, **_: Any) -> None:
        """Answer the hook that is being handled; later than that, replace the running application."""
        await self._answer()

    async def _answer(self) -> None:
        verbs = verb_list(self.to_list())
        if self.is_resumed:
            return
        self.call.note_model(verbs)
        try:
            await self.call.ack(verbs)
        except RuntimeError:
            # Its hook has its answer: from a task of the application, or a second time.
            if verbs:
                await self.call.redirect(verbs)

    async def inject_command(self, command: str, data: Any = None, *, tool_call_id: str = "") -> None:
        """Send a command at once."""
        if not self.is_resumed:
            body = None if data is None or (command in commands.COMMANDS_WITHOUT_DATA and not data) else data
            await self.call.send_now([commands.command(command, body, leg=self.call.sid, tool_call_id=tool_call_id)])

    async def inject_mute(self, status: str) -> None:
        """Mute or unmute; the SDK's own command name is ignored by jambonz."""
        await self.inject_command("mute:status", {"mute_status": status})

    async def inject_noise_isolation(self, status: str, opts: Mapping[str, Any] | None = None) -> None:
        """Switch noise isolation ``on`` or ``off``."""
        value = {"on": "enable", "off": "disable"}.get(status, status)
        await self.inject_command("noiseIsolation:status", {"noise_isolation_status": value, **(opts or {})})

    async def inject_dtmf(self, dtmf: str) -> None:
        """Send digits one by one, as jambonz takes them."""
        for digit in dtmf:
            await self.inject_command("dtmf", {"dtmf": {"digit": digit}})

    async def send_tts_tokens(self, text: str, *, id: int | None = None, **opts: Any) -> None:  # noqa: A002 the SDK's
        """Offer text to the TTS stream, without flow control; ``session.call.tts_stream()`` has it."""
        await self.inject_command(
            "tts:tokens", {"id": self._next_tts_id() if id is None else id, "tokens": text, **opts}
        )

    async def flush_tts_tokens(self, **_: Any) -> None:
        """Speak the rest."""
        await self.inject_command("tts:flush")

    async def clear_tts_tokens(self) -> None:
        """Drop the rest."""
        await self.inject_command("tts:clear")

    async def tool_output(self, tool_call_id: str, result: Any) -> "Session":
        """Answer a tool call; a plain result gets the shape that the running model's vendor takes."""
        if not (isinstance(result, dict) and _SHAPED & result.keys()):
            told = [(Asked(tool_call_id, "", {}), Told(result))]
            result = answer_of("llm:tool-call", self.call.model_vendor, told)
        await self.inject_command("llm:tool-output", result, tool_call_id=tool_call_id)
        return self

    async def update_agent(self, data: Mapping[str, Any]) -> None:
        """Change the running agent; the SDK's own message type is refused by jambonz."""
        await self.inject_command("agent:update", dict(data))

    async def emit(self, event: str, *args: Any) -> bool:
        """Run the handlers of an event; False if there is none."""
        found: bool = await self._emit_async(event, *args)
        return found


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


class Runner:
    """Stands for the SDK's web server: ``cleanup()`` drains the worker."""

    def __init__(self, app: App, settings: WorkerSettings) -> None:
        self._shutdown: Shutdown | None = None
        self._is_cleaned_up = False
        self._is_up = asyncio.Event()
        self._task = asyncio.create_task(self._run(app, settings), name="worker")

    async def cleanup(self) -> None:
        """Serve the calls there are for a while, hand the rest to others, and stop."""
        self._is_cleaned_up = True
        await self._is_up.wait()
        if self._shutdown:
            self._shutdown.drain.set()
        await asyncio.wait([self._task])

    async def _run(self, app: App, settings: WorkerSettings) -> None:
        with shutdown_signals() as shutdown:
            self._shutdown = shutdown
            self._is_up.set()
            await run(app, settings, shutdown)
        if not self._is_cleaned_up:
            # The application waits for ever; the signal that the worker has drained for now ends it.
            signal.raise_signal(signal.SIGTERM)


async def create_endpoint(
    *,
    host: str = "",
    port: int = 0,
    env_vars: dict[str, dict[str, Any]] | None = None,
    logger_: logging.Logger | None = None,
    compress: bool = True,
) -> tuple[Services, Runner]:
    """Start a worker in this process; settings come from the environment (``JAMBONZ_CLUSTER_REDIS_URL``).

    Raises:
        BadSettings: If settings of the environment are wrong.
    """
    del compress
    (logger_ or log).info("the gateway listens, not this process", extra={"host": host, "port": port})
    services = Services(env_vars)
    settings = load_settings(WorkerSettings, {})
    return services, Runner(services.app, settings)
