"""The manifest: what gateways must know of an app, as JSON in ``jc:app:{app}``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from jambonz_shared.errors import BadFormat
from jambonz_shared.wire import MAX_VERBS_BYTES

VERSION: Final = 1

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
        faults: What ``decode`` has left out, and why: fallbacks that cannot be sent.
    """

    app: str
    paths: tuple[str, ...] = ()
    is_open: bool = False
    env: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fallback: tuple[Mapping[str, Any], ...] | None = None
    hooks: Mapping[str, HookPolicy] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

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

    @classmethod
    def decode(cls, raw: bytes) -> "Manifest":
        """Return the manifest in ``raw``, without fallbacks that are no verbs or too long for an ack.

        The app goes on without them: its calls would get 404 because of what is said only if no worker answers.

        Raises:
            BadFormat: If it is none of this version.
        """
        faults: list[str] = []
        try:
            found = orjson.loads(raw)
            if found["version"] != VERSION:
                raise BadFormat(f"expected a manifest of version {VERSION}, got {found['version']!r}")
            paths = tuple(found["paths"])
            if not all(isinstance(path, str) for path in paths):
                raise BadFormat("expected the paths of a manifest to be text")
            return cls(
                str(found["app"]),
                paths,
                bool(found["open"]),
                dict(found["env"]),
                _verbs(found["fallback"], "calls", faults),
                {
                    path: (policy["late"], _verbs(policy["fallback"], path, faults))
                    for path, policy in found["hooks"].items()
                },
                tuple(faults),
            )
        except BadFormat:
            raise
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadFormat(f"manifest of {len(raw)} bytes cannot be read: {error!r}") from None


def _verbs(fallback: object, of: str, faults: list[str]) -> tuple[Mapping[str, Any], ...] | None:
    if fallback is None:
        return None
    if not isinstance(fallback, list):
        faults.append(f"expected the fallback of {of} to be a list of verbs, got a {type(fallback).__name__}")
    elif (size := len(orjson.dumps(fallback))) > MAX_VERBS_BYTES:
        faults.append(f"expected the fallback of {of} to have at most {MAX_VERBS_BYTES} bytes, got {size}")
    else:
        return tuple(fallback)
    return None
