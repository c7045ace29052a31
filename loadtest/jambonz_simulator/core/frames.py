"""Frames in both directions: which types want an ack, what the parser of jambonz accepts. Pure."""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

# All other types want one (PROTOCOL.md 2.2; ws:16-24, whose name says the opposite).
KINDS_WITHOUT_ACK: Final = frozenset(
    {
        "call:status",
        "verb:status",
        "jambonz:error",
        "llm:event",
        "llm:tool-call",
        "tts:streaming-event",
        "tts:tokens-result",
    }
)

# Only these carry `hook` at the top level (PROTOCOL.md 2.1).
KINDS_WITH_HOOK: Final = frozenset({"verb:hook", "dial:confirm", "session:redirect", "llm:event", "llm:tool-call"})

# These may come without data (PROTOCOL.md 3.1).
COMMANDS_WITHOUT_DATA: Final = frozenset({"llm:tool-output", "tts:flush", "tts:clear"})


@dataclass(frozen=True, slots=True)
class AckFrame:
    """An ack as parsed; ``data`` may be anything, ``None`` if missing."""

    msgid: Any
    data: Any


@dataclass(frozen=True, slots=True)
class CommandFrame:
    """A command as parsed; ``call_sid`` is the member ``callSid``, ``None`` if missing."""

    command: Any
    data: Any
    call_sid: Any
    queue_command: bool
    tool_call_id: Any


@dataclass(frozen=True, slots=True)
class InvalidFrame:
    """What jambonz answers with ``jambonz:error`` InvalidMessage, and why."""

    details: str
    content: str


ServerFrame: TypeAlias = AckFrame | CommandFrame | InvalidFrame


def parse(payload: str | bytes) -> tuple[ServerFrame, Any]:
    """Read a frame of the server as jambonz does; also give its JSON value, if it is JSON.

    Binary frames are read like text, as the check of jambonz reads an unset member
    (PROTOCOL.md 1.1). Rules and error texts: PROTOCOL.md 3.1.
    """
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return InvalidFrame(str(error), as_text(payload)), None
    details = ""
    fields = value if isinstance(value, dict) else {}
    if not is_truthy(fields.get("type")):
        details = "type property not supplied"
    elif fields["type"] == "ack":
        if is_truthy(fields.get("msgid")):
            return AckFrame(fields["msgid"], fields.get("data")), value
        details = "msgid not supplied"
    elif fields["type"] == "command":
        command = fields.get("command")
        needs_data = not isinstance(command, str) or command not in COMMANDS_WITHOUT_DATA
        if is_truthy(command) and (is_truthy(fields.get("data")) or not needs_data):
            return _command(fields), value
        details = f"{'data' if is_truthy(command) else 'command'} property not supplied"
    else:
        details = f"invalid type property: {fields['type']}"
    return InvalidFrame(details, as_text(payload)), value


def _command(fields: dict[str, Any]) -> CommandFrame:
    return CommandFrame(
        command=fields["command"],
        data=fields.get("data"),
        call_sid=fields.get("callSid") or None,
        queue_command=is_truthy(fields.get("queueCommand", False)),
        tool_call_id=fields.get("tool_call_id"),
    )


def is_truthy(value: Any) -> bool:
    """Tell truth as JavaScript does: ``{}`` and ``[]`` are true, ``0``, ``""`` and null are not."""
    return isinstance(value, (dict, list)) or bool(value)


def is_utf8(payload: str | bytes) -> bool:
    """Tell whether a text message is one; the `ws` library closes the socket with 1007 if not (receiver.js)."""
    try:
        as_text(payload, "strict")
    except UnicodeDecodeError:
        return False
    return True


def as_text(payload: str | bytes, errors: str = "replace") -> str:
    """Return a message for people and for ``jambonz:error``."""
    return payload if isinstance(payload, str) else payload.decode("utf-8", errors)
