"""Reads members of a message whose types nobody promises. Pure."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def text_in(data: Mapping[str, Any], name: str) -> str:
    """Return a text member, or empty."""
    value = data.get(name)
    return value if isinstance(value, str) else ""


def number_in(data: Mapping[str, Any], name: str) -> float | None:
    """Return a number member, also one that jambonz writes as text, or None; infinity is no number."""
    value = data.get(name)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def whole(value: float | None) -> int | None:
    """Return a number without its fraction."""
    return None if value is None else int(value)


def mapping_in(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object member, or an empty one."""
    value = data.get(name)
    return value if isinstance(value, dict) else NOTHING
