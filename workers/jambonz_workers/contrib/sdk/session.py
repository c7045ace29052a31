"""The SDK's session over a call of the cluster."""

import contextvars
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from jambonz_sdk.websocket.session import Session as SdkSession  # type: ignore[import-untyped]

from jambonz_workers import commands
from jambonz_workers.call import Call
from jambonz_workers.event import Event
from jambonz_workers.events.members import text_in
from jambonz_workers.handling import current
from jambonz_workers.tool_answers import Asked, Told, answer_of, asked_in
from jambonz_workers.verbs import verb_list

log = logging.getLogger(__name__)

# Outputs that are in a vendor's shape already.
_SHAPED: Final = frozenset({"type", "data", "toolResponse", "result"})


class Session(SdkSession):  # type: ignore[misc]
    """The SDK's session, with wire shapes that jambonz accepts (PROTOCOL.md 3.5).

    The legs of its dials (PROTOCOL.md 2.9) have sessions of their own, with the ``locals`` of this one, and with its
    handlers for what has none there. While a hook of a leg is handled, verbs and answers of this session are the leg's.

    Attributes:
        call: The call underneath, for what the SDK does not have.
    """

    locals: dict[str, Any]

    def __init__(self, call: Call, data: dict[str, Any], parent: "Session | None" = None) -> None:
        self._queue: list[Any] = []
        self._parent = parent
        self._asked: dict[str, list[Asked]] = {}
        super().__init__(None, {**data, "call_sid": call.sid}, "")
        self.call = call
        if parent:
            self.locals = parent.locals

    @property
    def is_resumed(self) -> bool:
        """True in the ``session:new`` handler of a call that another worker began, and in the tasks it starts there.

        Nothing that they send goes out: the caller has heard it.
        """
        return _resumed.get() is self

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Leave out what is sent inside, and the verbs that are built."""
        token = _resumed.set(self)
        try:
            yield
        finally:
            _resumed.reset(token)

    @property
    def has_handlers(self) -> bool:
        """True if the application has registered a handler."""
        return bool(self._handlers)

    @property
    def _verbs(self) -> list[Any]:
        """The builder's list; a leg has its own, since its handlers run beside those of the call that dialled it."""
        return [] if self.is_resumed else self._addressed()._queue  # noqa: SLF001 the leg's

    @_verbs.setter
    def _verbs(self, verbs: list[Any]) -> None:
        if not self.is_resumed:
            self._addressed()._queue = verbs  # noqa: SLF001 the leg's

    def _addressed(self) -> "Session":
        """Return whose hook is handled: this session, or one of a leg that has got here by handlers of this one."""
        found = session = at_work.get()
        while session:
            if session is self:
                return found or self
            session = session._parent  # noqa: SLF001 ours
        return self

    def _commanded(self) -> "Session":
        """Return who commands are for; jambonz takes those of a leg on its parent's websocket for its parent's."""
        addressed = self._addressed()
        return addressed if addressed.call.has_own_socket else self

    async def send(self, **_: Any) -> None:
        """Answer ``session:new`` with the verbs built so far."""
        await self._answer()

    async def reply(self, **_: Any) -> None:
        """Answer the hook that is being handled; later than that, replace the running application.

        A leg that shares the websocket of the call that dialled it can be answered in time only: jambonz would replace
        the application of that call (PROTOCOL.md 3.2). Later verbs are left out, with a warning in the log.
        """
        await self._answer()

    async def _answer(self) -> None:
        if self.is_resumed:
            return
        call = self._addressed().call
        verbs = verb_list(self.to_list())
        handling = current.get()
        if handling and handling.call is call and handling.is_open and handling.event.is_hook and not handling.is_acked:
            await call.ack(verbs)
        elif verbs and call.has_own_socket:
            # Its hook has its answer: from a task of the application, or a second time.
            await call.redirect(verbs)
        elif verbs:
            log.warning("too late for the answer of a leg, which is left out", extra={"call_sid": call.sid})

    async def inject_command(self, command: str, data: Any = None, *, tool_call_id: str = "") -> None:
        """Send a command at once."""
        if not self.is_resumed:
            body = None if data is None or (command in commands.COMMANDS_WITHOUT_DATA and not data) else data
            call = self._commanded().call
            await call.send_now([commands.command(command, body, leg=call.sid, tool_call_id=tool_call_id)])

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

    def note_tools(self, event: Event) -> None:
        """Remember the names of the tools that a model asks for, which deepgram and google want back."""
        self._asked[text_in(event.data, "tool_call_id")] = asked_in(event)

    async def tool_output(self, tool_call_id: str, result: Any) -> "Session":
        """Answer a tool call; a plain result gets the shape that the running model's vendor takes."""
        session, told = self._commanded(), Told(result)
        # google asks for several under one id, to be answered together (PROTOCOL.md 5.1).
        asked = session._asked.pop(tool_call_id, None) or [Asked(tool_call_id, "", {})]  # noqa: SLF001 the leg's
        if not (isinstance(result, dict) and _SHAPED & result.keys()):
            result = answer_of("llm:tool-call", session.call.model_vendor, [(one, told) for one in asked])
        await self.inject_command("llm:tool-output", result, tool_call_id=tool_call_id)
        return self

    async def update_agent(self, data: Mapping[str, Any]) -> None:
        """Change the running agent; the SDK's own message type is refused by jambonz."""
        await self.inject_command("agent:update", dict(data))

    async def emit(self, event: str, *args: Any) -> bool:
        """Run the handlers of an event, for a leg without one those of the call that dialled it; False if none."""
        found: bool = await self._emit_async(event, *args)
        return found or (self._parent is not None and await self._parent.emit(event, *args))

    async def closed(self) -> None:
        """Run the handlers of the end; those of the call that dialled a leg wait for their own."""
        await self._emit_async("close", 1000, "")


at_work: Final[contextvars.ContextVar[Session | None]] = contextvars.ContextVar("session", default=None)
"""Whose event is handled in this context, and in the tasks that the application has started there."""

_resumed: Final[contextvars.ContextVar[Session | None]] = contextvars.ContextVar("resumed", default=None)
"""The session whose ``session:new`` handler runs again in this context."""
