"""The manifest: what gateways must know of an app, as JSON in ``jc:app:{app}``. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

VERSION: Final = 1

# What the portal accepts (PROTOCOL.md 8.1, appenv_schemaSchema.json); extra members pass.
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z0-9_]+\Z")
_VARIABLE_TYPES: Final = ("string", "number", "boolean")

HookPolicy = tuple[str, tuple[Mapping[str, Any], ...] | None]
"""What happens to late verbs (``redirect`` or ``drop``), and the fallback verbs if the app has its own."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an app is, as its workers say.

    Attributes:
        app: Its name.
        paths: Paths of its sessions, variables as ``{name}``.
        is_open: It takes calls at any path (``@app.on("session:new")``).
        env: Environment variables for the portal (PROTOCOL.md 8.1).
        fallback: Verbs for an inbound call that no worker answers in time; ``None``: the gateway's own.
        hooks: Policies by hook path, only those that differ from the default.
    """

    app: str
    paths: tuple[str, ...] = ()
    is_open: bool = False
    env: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fallback: tuple[Mapping[str, Any], ...] | None = None
    hooks: Mapping[str, HookPolicy] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the JSON text; the same app gives the same bytes."""
        return orjson.dumps(
            {
                "version": VERSION,
                "app": self.app,
                "paths": sorted(self.paths),
                "open": self.is_open,
                "env": self.env,
                "fallback": self.fallback,
                "hooks": {
                    path: {"late": late, "fallback": fallback} for path, (late, fallback) in sorted(self.hooks.items())
                },
            }
        )


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
