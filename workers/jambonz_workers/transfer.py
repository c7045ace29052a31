"""Handing a call to another app: what jambonz is told, and the consent that the call's hash holds meanwhile. Pure."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import orjson

from jambonz_workers.state import CallState

FIELD: Final = "@transfer"
"""Field of the call state: who may take the call, until when, and what it gets (architecture.md section 5)."""

# jambonz opens the websocket as soon as it comes to the verb; before it, it may still speak what stands in front of it.
CONSENT_S: Final = 60.0

# The end of a consent was told by our clock and is judged by that of Redis, in whole seconds (attach.lua): they may
# differ by seconds, not by a minute (ADR 0012). By then the owner has asked Redis, too (``Office.expect_transfer``).
_LATE_MS: Final = 60_000

# Of the first app alone: its settings and secrets, and the model that it ran.
_FACTS_KEPT_BACK: Final = frozenset({"env_vars", "llm_vendor"})


def consent_to(
    call_state: CallState, app: str, *, facts: Mapping[str, Any], state: Mapping[str, object], now_ms: int
) -> None:
    """Write into a call's state that ``app`` may take the call; an earlier consent ends.

    Raises:
        TypeError: If JSON cannot hold a value of ``state``.
        ValueError: If a name in ``state`` is the cluster's own.
    """
    # Checked, and encoded, as the state of the other app will be. JSON in JSON: scripts pass it on untouched.
    handed = CallState()
    handed.update(state)
    told = {name: value for name, value in facts.items() if name not in _FACTS_KEPT_BACK}
    call_state.set_own(
        FIELD,
        {
            "app": app,
            "until_ms": now_ms + round(CONSENT_S * 1000),
            "facts": orjson.dumps(told).decode(),
            "state": {name: json.decode() for name, json in handed.changes()},
        },
    )


def consented_app(call_state: CallState, now_ms: int) -> str:
    """Return the app that may take the call, or may have taken it without our knowledge until now; else empty.

    A consent that ended a minute ago or earlier was not used: if the call is lost now, it was not by that.
    """
    consent = call_state.own(FIELD)
    return consent["app"] if consent and now_ms < consent["until_ms"] + _LATE_MS else ""


def redirect_verb(url: str, call_sid: str) -> dict[str, object]:
    """Return the verb that makes jambonz open a websocket at ``url``, which names the call (PROTOCOL.md 2.5).

    Raises:
        ValueError: If ``url`` is no absolute websocket URL, or names another call.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"expected an absolute ws:// or wss:// URL, got a {parts.scheme or 'relative'!r} one")
    named = [value for name, value in parse_qsl(parts.query) if name == "call_sid"]
    if named and named != [call_sid]:
        raise ValueError(f"the URL names another call than {call_sid!r} in its query")
    query = parts.query if named else "&".join(filter(None, (parts.query, f"call_sid={quote(call_sid, safe='')}")))
    return {"verb": "redirect", "actionHook": urlunsplit(parts._replace(query=query))}
