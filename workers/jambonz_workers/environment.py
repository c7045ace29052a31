"""Environment variables of an application as it declared them: checked, typed, defaults filled in. Pure."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from jambonz_workers.verbs import dump

Declared = Mapping[str, Mapping[str, Any]]

# What the portal accepts (PROTOCOL.md 8.1, appenv_schemaSchema.json); extra members pass.
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z0-9_]+\Z")
_VARIABLE_TYPES: Final = ("string", "number", "boolean")
_MEMBERS: Final[Mapping[str, type]] = {"required": bool, "obscure": bool, "enum": list}


def checked_environment(env: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the declared environment variables.

    Raises:
        TypeError: If it or one of them is no mapping, or JSON cannot hold it.
        ValueError: If the portal would refuse it, or its default is not of its type.
    """
    if not isinstance(env, Mapping):
        raise TypeError(f"expected env to be a dict of variables by their names, got {type(env).__name__}")
    checked: dict[str, dict[str, Any]] = {}
    for name, variable in env.items():
        if not isinstance(name, str) or not _VARIABLE_NAME.match(name):
            raise ValueError(f"env {name!r}: expected a name of letters, digits and _")
        if not isinstance(variable, Mapping):
            raise TypeError(f"env {name!r}: expected a dict with type and description, got {type(variable).__name__}")
        if variable.get("type") not in _VARIABLE_TYPES:
            raise ValueError(f"env {name!r}: expected type string, number or boolean, got {variable.get('type')!r}")
        if not isinstance(variable.get("description"), str) or not variable["description"]:
            raise ValueError(f"env {name!r}: expected a description")
        # As the portal will read it: a number that JSON cannot hold is null there.
        plain: dict[str, Any] = orjson.loads(dump(dict(variable), f"env {name!r}"))
        _check_members(name, plain)
        checked[name] = plain
    return checked


def _check_members(name: str, variable: dict[str, Any]) -> None:
    for member, kind in _MEMBERS.items():
        if member in variable and not isinstance(variable[member], kind):
            raise ValueError(f"env {name!r}: expected {member} to be a {kind.__name__}, got {variable[member]!r}")
    if "default" in variable:
        kind, default = variable["type"], variable["default"]
        variable["default"] = _typed(kind, default)
        if not _is_of(kind, variable["default"]):
            raise ValueError(f"env {name!r}: expected a default of type {kind}, got {default!r}")


def _is_of(kind: object, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, str) if kind == "string" else kind == "number" and isinstance(value, int | float)


def typed(declared: Declared, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the variables by name: text, int, float or bool as declared, else as given.

    A value that is not of its declared type stays as it is: the operator has typed it, and the application may know
    what to do. Declared variables without value and default are absent.
    """
    values = {name: variable["default"] for name, variable in declared.items() if "default" in variable}
    for name, value in given.items():
        values[name] = _typed(declared.get(name, {}).get("type"), value)
    return MappingProxyType(values)


def _typed(kind: object, value: Any) -> Any:
    if kind == "boolean" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if kind == "number" and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        if not math.isfinite(number):
            return value
        return int(number) if number.is_integer() else number
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
