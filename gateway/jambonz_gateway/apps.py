"""Which app a path belongs to, from the manifests workers publish. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from jambonz_gateway.owed import Fallbacks, path_pattern
from jambonz_shared.manifest import Manifest
from jambonz_shared.paths import lookup_paths

DEFAULT_APP: Final = "default"


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


def app_of(manifest: Manifest) -> KnownApp:
    """Return the app a manifest describes."""
    hooks = {path: orjson.dumps(fallback) for path, (_, fallback) in manifest.hooks.items() if fallback is not None}
    return KnownApp(
        manifest.app,
        manifest.is_open,
        tuple(map(path_pattern, manifest.paths)),
        manifest.env,
        Fallbacks.of(hooks, orjson.dumps(manifest.fallback) if manifest.fallback else b"", manifest.app),
    )


class Apps:
    """All apps known now. Empty until the first manifest has been read: then no path is known."""

    __slots__ = ("_apps",)

    def __init__(self, apps: Iterable[KnownApp] = ()) -> None:
        self._apps: Final = {app.name: app for app in apps}

    def __bool__(self) -> bool:
        return bool(self._apps)

    def __contains__(self, name: str) -> bool:
        return name in self._apps

    @property
    def names(self) -> list[str]:
        """Their names, in order."""
        return sorted(self._apps)

    def named(self, name: str) -> KnownApp:
        """Return the app, or one without any wishes if no manifest is known."""
        return self._apps.get(name) or KnownApp(name)

    def find(self, path: str, allowed: Collection[str] | None = None) -> KnownApp | None:
        """Return the app that takes a Connection at ``path`` (without query), or ``None``.

        The first segment may name the app; the rest, or else the whole path, must be one of its sessions.
        See ``lookup_paths`` for what of it counts. Only apps in ``allowed`` are looked at, so credentials tell apps
        with the same path apart.
        """
        apps = self._apps if allowed is None else {name: app for name, app in self._apps.items() if name in allowed}
        return next((app for plain in lookup_paths(path) if (app := _find(apps, plain))), None)


def _find(apps: Mapping[str, KnownApp], plain: str) -> KnownApp | None:
    first, _, rest = plain[1:].partition("/")
    if (named := apps.get(first)) and (named.takes(f"/{rest}") or named.takes(plain)):
        return named
    candidates = [apps[DEFAULT_APP]] if DEFAULT_APP in apps else list(apps.values())
    return next((app for app in candidates if app.takes(plain)), None)


def apps_at_any_path(names: Collection[str] | None) -> Apps:
    """Return what is assumed as long as no worker has ever said what it is: calls wait, and hear the fallback.

    Any path belongs to the app without a name, or to those that the login is for.
    """
    return Apps([KnownApp(name, takes_any_path=True) for name in sorted(names or {DEFAULT_APP})])
