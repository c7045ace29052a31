"""Verbs checked against jambonz's own JSON Schemas, which jambonz-python-sdk ships. For development and tests."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, Protocol

from jambonz_shared.errors import ClusterError
from jambonz_workers.verbs import verb_name

# Verbs of 0.9 that the schemas do not know (PROTOCOL.md section 11).
_WITHOUT_SCHEMA: Final = frozenset({"lex", "rasa", "microsoft_s2s", "voiceagent_s2s"})


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
        InvalidVerbs: If a verb is unknown, or a property has the wrong type.
        ImportError: If jambonz-python-sdk is not installed.
    """
    errors: list[str] = []
    for number, verb in enumerate(verbs, 1):
        name = verb_name(verb)
        if name in _WITHOUT_SCHEMA:
            continue
        whole = dict(verb) if "verb" in verb else {"verb": name, **(verb.get(name) or {})}
        errors += [f"verb {number} ({name or 'no name'}): {error}" for error in _validator().validate_verb(whole)]
    if errors:
        raise InvalidVerbs(errors)


def load_schemas() -> None:
    """Read the schemas now: it holds up the event loop for a quarter of a second (measured), while a caller waits.

    Raises:
        ImportError: If jambonz-python-sdk is not installed.
    """
    _validator()


@cache
def _validator() -> _Validator:
    try:
        from jambonz_sdk.validator import JambonzValidator  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("checking verbs needs the SDK: pip install 'jambonz-cluster[sdk]'") from error
    validator: _Validator = JambonzValidator()
    return validator
