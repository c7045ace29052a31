"""Key conversion of jambonz: snake_case at every depth, some values verbatim. Pure."""

import re
from functools import lru_cache
from typing import Any, Final

# Keys that keep their spelling and whose values pass through untouched (PROTOCOL.md 2.1).
VERBATIM_KEYS: Final = frozenset({"customerData", "sip", "env_vars", "args"})

_SEPARATOR: Final = re.compile(r"[_\-.:]")
_SPLIT_SEPARATOR: Final = re.compile(r"[\W_]+(.|$)", re.ASCII)
_CAMEL: Final = re.compile(r"[a-z][A-Z]|[A-Z][a-z]")
_SPLIT_CAMEL: Final = re.compile(r"(.)([A-Z]+)")


@lru_cache(maxsize=4096)
def snake_case(key: str) -> str:
    """Give a key as jambonz spells it: ``callSid`` is ``call_sid``, ``X-FooBar`` is ``x_foobar``.

    A key with a separator is lower-cased without splitting its humps (PROTOCOL.md 2.1).
    """
    if not re.search(r"\s", key):
        if _SEPARATOR.search(key):
            key = _SPLIT_SEPARATOR.sub(lambda m: " " + m[1] if m[1] else "", key) or key
        elif _CAMEL.search(key):
            key = _SPLIT_CAMEL.sub(lambda m: f"{m[1]} {' '.join(m[2].lower())}", key)
    spaced = _SPLIT_SEPARATOR.sub(lambda m: " " + m[1] if m[0] else "", key.lower())
    return re.sub(r"\s", "_", spaced.strip())


def snake_case_keys(value: Any) -> Any:
    """Convert the keys of objects at every depth, the values of `VERBATIM_KEYS` left as they are."""
    if isinstance(value, dict):
        return {
            key if key in VERBATIM_KEYS else snake_case(key): (item if key in VERBATIM_KEYS else snake_case_keys(item))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [snake_case_keys(item) for item in value]
    return value
