"""Events as handlers get them, out of what arrives. Pure."""

from dataclasses import replace

import orjson

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFrame
from jambonz_shared.kinds import HOOKS
from jambonz_shared.wire import decode_json
from jambonz_workers.event import Event


def event_of(envelope: Envelope) -> Event:
    """Return the Event in an Envelope; its ``path_params`` are filled in when a route is found.

    Raises:
        BadFrame: If the body is no JSON object, or a member has the wrong type.
    """
    try:
        message = decode_json(envelope.body)
    except orjson.JSONDecodeError as error:
        raise BadFrame(f"expected a JSON object, got {len(envelope.body)} bytes: {error.msg}") from None
    if not isinstance(message, dict):
        raise BadFrame(f"expected a JSON object, got a JSON {type(message).__name__}")
    data = message.get("data")
    hook = message.get("hook")
    return Event(
        envelope.kind,
        envelope.call_sid,
        data if isinstance(data, dict) else {},
        hook if isinstance(hook, str) else "",
        envelope.msgid,
        {},
        envelope.epoch,
        envelope.n,
        envelope.received_at_ms,
        envelope.kind in HOOKS and not envelope.is_acked,
        envelope.kind == "session:new" and message.get("type") == "session:reconnect",
    )


def bare_event_of(envelope: Envelope) -> Event:
    """Return the Event without its data, which are ours or unreadable."""
    return event_of(replace(envelope, body=b"{}"))
