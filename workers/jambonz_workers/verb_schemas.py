"""Verbs checked against jambonz's own JSON Schemas, which jambonz-python-sdk ships. For development and tests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol, TypeAlias

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
        InvalidVerbs: If a verb is unknown, a property has the wrong type, or is a known one misspelt, inside of others
            too.
        ImportError: If jambonz-python-sdk is not installed.
    """
    errors: list[str] = []
    for number, verb in enumerate(verbs, 1):
        name = verb_name(verb)
        if name in _WITHOUT_SCHEMA:
            continue
        whole = dict(verb) if "verb" in verb else {"verb": name, **(verb.get(name) or {})}
        found = [*_validator().validate_verb(whole), *_misspelt(whole, _verb(name))]
        errors += [f"verb {number} ({name or 'no name'}): {error}" for error in found]
    if errors:
        raise InvalidVerbs(errors)


def action_hooks(value: object) -> Iterator[str]:
    """Yield every ``actionHook`` in verbs, those of nested ones included."""
    if isinstance(value, list):
        for member in value:
            yield from action_hooks(member)
    elif isinstance(value, Mapping):
        for name, member in value.items():
            hook = member.get("url") if isinstance(member, Mapping) else member
            if name == "actionHook" and isinstance(hook, str):
                yield hook
            else:
                yield from action_hooks(member)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of the known names somebody meant who has written this one, empty if that is none of them."""
    return next(iter(get_close_matches(name, known, 1, _NEAR)), "")


def load_schemas() -> None:
    """Read the schemas now: it holds up the event loop for a quarter of a second (measured), while a caller waits.

    Raises:
        ImportError: If jambonz-python-sdk is not installed.
    """
    _validator()
    _documents()


# A piece of a schema, and the document it stands in, such as ``components/recognizer``, by which its references go.
_Piece: TypeAlias = tuple[Mapping[str, Any], str]


def _misspelt(value: object, schema: Sequence[_Piece], place: str = "") -> Iterator[str]:
    """Yield a line for each property inside of a value that is nearly one that the schema has in its place.

    jambonz refuses the whole application for it (pitfall 21). The schemas let pass what they do not know, and something
    of another name may be newer than they are.
    """
    if isinstance(value, list):
        members = [piece for part, document in schema for piece in _pieces(part.get("items", {}), document)]
        for number, member in enumerate(value):
            is_verb = isinstance(member, Mapping) and "verb" in member and not _properties(members)
            yield from _misspelt(member, _verb(member["verb"]) if is_verb else members, f"{place}{number}/")
    if not isinstance(value, Mapping):
        return
    known = _properties(schema)
    for name, member in value.items():
        if name in known:
            yield from _misspelt(member, known[name], f"{place}{name}/")
        elif near := nearest(str(name), known):
            where = f"{place[:-1]}: " if place else ""
            yield f"{where}unknown property {name!r}; was {near!r} meant?"


def _properties(schema: Sequence[_Piece]) -> dict[str, list[_Piece]]:
    """Return the schema of each property of an object."""
    found: dict[str, list[_Piece]] = {}
    for part, document in schema:
        for name, inner in part.get("properties", {}).items():
            found.setdefault(name, []).extend(_pieces(inner, document))
    for name, pieces in found.items():
        # `gather.say` and the like have the properties of the verb, and their schema is a sentence that says so.
        if pieces[0][0].get("additionalProperties") is True and "properties" not in pieces[0][0]:
            pieces.extend(_verb(name))
    return found


def _verb(name: str) -> list[_Piece]:
    document = f"verbs/{name}"
    return list(_pieces(_documents().get(document, {}), document))


def _pieces(part: Mapping[str, Any], document: str) -> Iterator[_Piece]:
    """Yield a piece and all that it refers to or is made of; alternatives count as one."""
    yield part, document
    if "$ref" in part:
        reference: str = part["$ref"]
        if reference.startswith("#/$defs/"):
            yield from _pieces(_documents()[document]["$defs"][reference.removeprefix("#/$defs/")], document)
        else:
            other = reference.removeprefix("../") if "/" in reference else f"{document.partition('/')[0]}/{reference}"
            yield from _pieces(_documents()[other], other)
    for word in ("allOf", "oneOf", "anyOf"):
        for inner in part.get(word, ()):
            yield from _pieces(inner, document)


@cache
def _documents() -> dict[str, dict[str, Any]]:
    """Return the schemas of verbs and of their parts by name, such as ``verbs/say``."""
    folder = files("jambonz_sdk") / "schema"
    found: dict[str, dict[str, Any]] = {}
    for kind in ("verbs", "components"):
        for file in (folder / kind).iterdir():
            if file.name.endswith(".json"):
                document = orjson.loads(file.read_bytes())
                found["/".join(document["$id"].split("/")[-2:])] = document
    return found


@cache
def _validator() -> _Validator:
    try:
        from jambonz_sdk.validator import JambonzValidator  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("checking verbs needs the SDK: pip install 'jambonz-cluster[sdk]'") from error
    validator: _Validator = JambonzValidator()
    return validator
