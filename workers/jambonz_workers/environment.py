"""Environment variables of an application as it declared them: checked, typed, defaults filled in. Pure."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

Declared = Mapping[str, Mapping[str, Any]]

# What the portal accepts (PROTOCOL.md 8.1, appenv_schemaSchema.json); extra members pass.
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z0-9_]+\Z")
_VARIABLE_TYPES: Final = ("string", "number", "boolean")


def checked_environment(env: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the declared environment variables.

    Raises:
        TypeError: If one is no mapping.
        ValueError: If the portal would refuse it.
    """
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
        checked[name] = dict(variable)
    return checked


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
        return int(number) if number.is_integer() else number
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
