"""Environment variables of an application as it declared them: typed, defaults filled in. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Declared = Mapping[str, Mapping[str, Any]]


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
