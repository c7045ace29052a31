"""Verbs checked against jambonz's own JSON Schemas, which jambonz-python-sdk ships. For development and tests."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol

import orjson

from jambonz_shared.errors import ClusterError
from jambonz_workers.verbs import verb_name

# Verbs of 0.9 that the schemas do not know (PROTOCOL.md section 11).
_WITHOUT_SCHEMA: Final = frozenset({"lex", "rasa", "microsoft_s2s", "voiceagent_s2s"})
# Of difflib: one letter wrong of five, or `action_hook` for `actionHook`.
_NEAR: Final = 0.8


class InvalidVerbs(ClusterError, ValueError):
    """Verbs that jambonz's schemas refuse; nothing was sent.

    Attributes:
        errors: One line for each mistake.
    """

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        super().__init__("; ".join(errors))


class _Validator(Protocol):
    def validate_verb(self, verb: dict[str, Any]) -> list[str]: ...


def check_schemas(verbs: Iterable[Mapping[str, Any]]) -> None:
    """Let pass what the schemas allow.

    Raises:
        InvalidVerbs: If a verb is unknown, a property has the wrong type, or is a known one misspelt.
        ImportError: If jambonz-python-sdk is not installed.
    """
    errors: list[str] = []
    for number, verb in enumerate(verbs, 1):
        name = verb_name(verb)
        if name in _WITHOUT_SCHEMA:
            continue
        whole = dict(verb) if "verb" in verb else {"verb": name, **(verb.get(name) or {})}
        found = _validator().validate_verb(whole) + _misspelt(name, whole)
        errors += [f"verb {number} ({name or 'no name'}): {error}" for error in found]
    if errors:
        raise InvalidVerbs(errors)


def load_schemas() -> None:
    """Read the schemas now: it holds up the event loop for a quarter of a second (measured), while a caller waits.

    Raises:
        ImportError: If jambonz-python-sdk is not installed.
    """
    _validator()
    _properties()


def _misspelt(name: str, verb: Mapping[str, Any]) -> list[str]:
    """Return a line for each property that a verb lacks and that is nearly one of its own.

    jambonz refuses the whole application for it (pitfall 21). The schemas let pass what they do not know, and something
    of another name may be newer than they are.
    """
    known = _properties().get(name, frozenset())
    unknown = [it for it in verb if it not in known] if known else []
    near = {it: get_close_matches(it, known, 1, _NEAR) for it in unknown}
    return [f"unknown property {it!r}; was {found[0]!r} meant?" for it, found in near.items() if found]


@cache
def _properties() -> dict[str, frozenset[str]]:
    """Return the properties of each verb whose schema has them all in one place."""
    folder = files("jambonz_sdk") / "schema" / "verbs"
    schemas = [orjson.loads(file.read_bytes()) for file in folder.iterdir() if file.name.endswith(".json")]
    found: dict[str, frozenset[str]] = {}
    for schema in schemas:
        properties: dict[str, Any] = schema.get("properties", {})
        verb = properties.get("verb", {})
        if "allOf" not in schema:
            found |= dict.fromkeys(verb.get("enum", [verb.get("const", "")]), frozenset(properties))
    return found


@cache
def _validator() -> _Validator:
    try:
        from jambonz_sdk.validator import JambonzValidator  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("checking verbs needs the SDK: pip install 'jambonz-cluster[sdk]'") from error
    validator: _Validator = JambonzValidator()
    return validator
