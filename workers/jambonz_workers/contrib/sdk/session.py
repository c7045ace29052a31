"""The SDK's session over a call of the cluster."""

from collections.abc import Mapping
from typing import Any, Final

from jambonz_sdk.websocket.session import Session as SdkSession  # type: ignore[import-untyped]

from jambonz_workers import commands
from jambonz_workers.call import Call
from jambonz_workers.tool_answers import Asked, Told, answer_of
from jambonz_workers.verbs import verb_list

# Outputs that are in a vendor's shape already.
_SHAPED: Final = frozenset({"type", "data", "toolResponse", "result"})


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
