"""Call facts: what the worker keeps of a call's first message, and the newest status. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from jambonz_workers.event import Event

# What applications ask for later (PROTOCOL.md 2.4). The sip message and the speech defaults are left out: they
# are the bulk of session:new and would be carried through Redis with every claim.
_KEPT: Final = (
    "direction",
    "from",
    "to",
    "caller_name",
    "caller_id",
    "call_id",
    "sbc_callid",
    "account_sid",
    "application_sid",
    "service_provider_sid",
    "parent_call_sid",
    "trace_id",
    "originating_sip_ip",
    "originating_sip_trunk_name",
    "env_vars",
    "customerData",
)

# Kinds that tell most about a call; they may correct facts taken from an earlier, poorer message
# (an outbound call begins with call:status, PROTOCOL.md 2.10).
_RICH: Final = frozenset({"session:new", "session:adulting", "session:redirect"})

ADULT: Final = "is_adult"
"""A fact of our own: the leg has left its parent's dial and has a websocket of its own."""

BEGUN: Final = "begun_at_ms"
"""A fact of our own: when the ``session:new`` that began the call had been received, Unix milliseconds."""


def facts_after(facts: Mapping[str, Any], event: Event) -> dict[str, Any] | None:
    """Return the facts once ``event`` is known, or None if they stay as they are."""
    # verb:status, tts:* and llm:* carry no call info (PROTOCOL.md 2.11); dial:confirm's is the child's.
    if facts and event.kind not in _RICH:
        return None
    data = event.data
    if data.get("call_sid") != event.call_sid:
        return None
    found = {name: data[name] for name in _KEPT if data.get(name) is not None}
    if event.kind == "session:new":
        found[BEGUN] = event.received_at_ms
    if event.kind == "session:adulting":
        found[ADULT] = True
    merged = {**facts, **found}
    return merged if merged != facts else None


def has_own_socket(facts: Mapping[str, Any]) -> bool:
    """Return False for a leg of a dial, which shares the websocket of the call that dialled it."""
    return not isinstance(facts.get("parent_call_sid"), str) or not facts["parent_call_sid"] or facts.get(ADULT) is True


def status_of(event: Event) -> str:
    """Return the call's status according to ``event``, or empty if it does not say."""
    status = event.data.get("call_status")
    return status if isinstance(status, str) and event.data.get("call_sid") == event.call_sid else ""


def decode_facts(raw: bytes) -> dict[str, Any]:
    """Return the facts that Redis holds; none if there are none."""
    facts = orjson.loads(raw) if raw else {}
    return facts if isinstance(facts, dict) else {}


def encode_facts(facts: Mapping[str, Any]) -> bytes:
    """Return the JSON for Redis."""
    return orjson.dumps(dict(facts))
