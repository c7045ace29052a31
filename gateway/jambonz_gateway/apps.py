"""Which app a path belongs to, from the manifests workers publish. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from jambonz_gateway.owed import Fallbacks, path_pattern
from jambonz_shared.errors import BadFormat
from jambonz_shared.wire import MAX_VERBS_BYTES

DEFAULT_APP: Final = "default"
_VERSION: Final = 1
# jambonz appends the text to the application's URL, once per adulting (PROTOCOL.md 2.7, P36).
_ADULTING: Final = re.compile(r"(?:/adulting)+\Z")


@dataclass(frozen=True, slots=True)
class KnownApp:
    """An app as its manifest describes it.

    Attributes:
        name: The app's name; also the first path segment that selects it.
        takes_any_path: It has a handler for ``session:new`` at any path.
        patterns: Compiled paths of its sessions.
        env: Declared environment variables, for ``OPTIONS`` (PROTOCOL.md 8.1).
        fallbacks: What is said when its workers do not answer.
    """

    name: str
    takes_any_path: bool = False
    patterns: tuple[re.Pattern[str], ...] = ()
    env: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: Fallbacks = field(default_factory=Fallbacks)

    def takes(self, path: str) -> bool:
        """Tell whether the app has a session at ``path``."""
        return self.takes_any_path or any(pattern.match(path) for pattern in self.patterns)


def read_manifest(raw: bytes) -> KnownApp:
    """Return the app a manifest describes.

    Raises:
        BadFormat: If it is no manifest of this version.
    """
    try:
        manifest = orjson.loads(raw)
        if manifest["version"] != _VERSION:
            raise BadFormat(f"expected a manifest of version {_VERSION}, got {manifest['version']!r}")
        hooks = {
            path: _verbs(policy["fallback"])
            for path, policy in manifest["hooks"].items()
            if policy["fallback"] is not None
        }
        start_verbs = _verbs(manifest["fallback"]) if manifest["fallback"] else b""
        return KnownApp(
            str(manifest["app"]),
            bool(manifest["open"]),
            tuple(path_pattern(path) for path in manifest["paths"]),
            dict(manifest["env"]),
            Fallbacks.of(hooks, start_verbs),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, BadFormat):
            raise
        raise BadFormat(f"manifest of {len(raw)} bytes cannot be read: {error!r}") from None


def _verbs(fallback: object) -> bytes:
    if not isinstance(fallback, list):
        raise BadFormat(f"expected a fallback to be a list of verbs, got a {type(fallback).__name__}")
    verbs = orjson.dumps(fallback)
    if len(verbs) > MAX_VERBS_BYTES:
        raise BadFormat(f"expected a fallback of at most {MAX_VERBS_BYTES} bytes, got {len(verbs)}")
    return verbs


class Apps:
    """All apps known now. Empty until the first manifest has been read: then no path is known."""

    __slots__ = ("_apps",)

    def __init__(self, apps: Iterable[KnownApp] = ()) -> None:
        self._apps: Final = {app.name: app for app in apps}

    def __bool__(self) -> bool:
        return bool(self._apps)

    def __contains__(self, name: str) -> bool:
        return name in self._apps

    def named(self, name: str) -> KnownApp:
        """Return the app, or one without any wishes if no manifest is known."""
        return self._apps.get(name) or KnownApp(name)

    def find(self, path: str, allowed: Collection[str] | None = None) -> KnownApp | None:
        """Return the app that takes a Connection at ``path`` (without query), or ``None``.

        The first segment may name the app; the rest, or else the whole path, must be one of its sessions.
        Adulting suffixes do not count. Only apps in ``allowed`` are looked at, so credentials tell apps with the same
        path apart.
        """
        apps = self._apps if allowed is None else {name: app for name, app in self._apps.items() if name in allowed}
        plain = _ADULTING.sub("", path) or "/"
        first, _, rest = plain[1:].partition("/")
        if (named := apps.get(first)) and (named.takes(f"/{rest}") or named.takes(plain)):
            return named
        candidates = [apps[DEFAULT_APP]] if DEFAULT_APP in apps else list(apps.values())
        return next((app for app in candidates if app.takes(plain)), None)


def apps_at_any_path(names: Collection[str] | None) -> Apps:
    """Return what is assumed as long as no worker has ever said what it is: calls wait, and hear the fallback.

    Any path belongs to the app without a name, or to those that the login is for.
    """
    return Apps(KnownApp(name, takes_any_path=True) for name in sorted(names or {DEFAULT_APP}))
