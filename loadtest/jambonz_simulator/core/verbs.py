"""The verb validator of 0.9.8, as far as an application can trip over it. Pure.

Known verbs, their properties and which of these are required come from PROTOCOL.md 11; types are not looked at, nor
what stands inside of a property.
"""

from typing import Any, Final, TypeAlias

from jambonz_simulator.core.properties import KNOWN_PROPERTIES

Verb: TypeAlias = dict[str, Any]

REQUIRED_PROPERTIES: Final[dict[str, tuple[str, ...]]] = {
    "alert": ("message",),
    "answer": (),
    "conference": ("name",),
    "config": (),
    "dequeue": ("name",),
    "dial": ("target",),
    "dialogflow": ("credentials", "project", "lang"),
    "dtmf": ("dtmf",),
    "dub": ("action", "track"),
    "enqueue": ("name",),
    "gather": (),
    "hangup": (),
    "leave": (),
    "lex": ("botId", "botAlias", "region"),
    "listen": ("url",),
    "llm": ("vendor", "llmOptions"),
    "message": ("to", "from"),
    "pause": ("length",),
    "play": ("url",),
    "rasa": ("url",),
    "redirect": ("actionHook",),
    "say": (),
    "sip:decline": ("status",),
    "sip:refer": ("referTo",),
    "sip:request": ("method",),
    "tag": ("data",),
    "transcribe": (),
}

# Rewritten before validation (verb-specifications 0.1.13): name and, for llm, the vendor.
ALIASES: Final[dict[str, tuple[str, str | None]]] = {
    "stream": ("listen", None),
    "s2s": ("llm", None),
    "openai_s2s": ("llm", "openai"),
    "microsoft_s2s": ("llm", "microsoft"),
    "google_s2s": ("llm", "google"),
    "elevenlabs_s2s": ("llm", "elevenlabs"),
    "deepgram_s2s": ("llm", "deepgram"),
    "voiceagent_s2s": ("llm", "voiceagent"),
    "ultravox_s2s": ("llm", "ultravox"),
}

# Verbs that run before the call is answered; all others answer it first.
VERBS_WITHOUT_ANSWER: Final = frozenset(
    {"alert", "config", "hangup", "leave", "message", "redirect", "sip:decline", "tag"}
)


class InvalidVerbs(ValueError):
    """jambonz refuses these verbs; the message says which and why."""


def read_verbs(data: Any) -> list[Verb]:
    """Give verbs in their long form, aliases resolved; what jambonz does with a verb array.

    Raises:
        InvalidVerbs: If this is no array of verbs that 0.9.8 accepts.
    """
    if not isinstance(data, list):
        raise InvalidVerbs(f"malformed application: expected an array, got {type(data).__name__}")
    return [_read_verb(item) for item in data]


def _read_verb(item: Any) -> Verb:
    if not isinstance(item, dict):
        raise InvalidVerbs(f"malformed instruction: expected an object, got {type(item).__name__}")
    verb = _long_form(item)
    name = verb["verb"]
    if name in ALIASES:
        name, vendor = ALIASES[name]
        verb = {**verb, "verb": name} if vendor is None else {"vendor": vendor, **verb, "verb": name}
    if name not in REQUIRED_PROPERTIES:
        raise InvalidVerbs(f"invalid instruction: {name!r}")
    missing = [field for field in REQUIRED_PROPERTIES[name] if field not in verb]
    if missing:
        raise InvalidVerbs(f"{name}: missing value for {missing[0]!r}")
    unknown = sorted(verb.keys() - KNOWN_PROPERTIES[name])
    if unknown:
        raise InvalidVerbs(f"{name}: unknown property {unknown[0]!r}")
    return verb


def _long_form(item: dict[str, Any]) -> Verb:
    """``{"say": {"text": "Hi"}}`` is the short form of ``{"verb": "say", "text": "Hi"}``."""
    if isinstance(item.get("verb"), str):
        return item
    if len(item) == 1:
        (name, properties), *_ = item.items()
        if isinstance(properties, dict):
            return {**properties, "verb": name}
    raise InvalidVerbs(f"malformed instruction: no verb in an object with {sorted(item)}")


def hook_path(hook: Any) -> str | None:
    """Give the URL of a hook property: a string, or an object with ``url`` (PROTOCOL.md 1.6)."""
    if isinstance(hook, dict):
        hook = hook.get("url")
    return hook if isinstance(hook, str) and hook else None


def number(value: Any, default: float) -> float:
    """Give a numeric property; verbs come from anywhere, so anything else is the default."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return default
    return float(value)
