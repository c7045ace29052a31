"""Under which paths sessions and hooks are looked up: the same ones in gateways and workers. Pure."""

import re
from typing import Final
from urllib.parse import unquote

from jambonz_shared.wire import MAX_MESSAGE_BYTES

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

_SHOWN_MAX: Final = 200

_ADULTING: Final = "/adulting"
"""jambonz appends it to the application's URL, each time once more (PROTOCOL.md 2.7, pitfall 36)."""


def lookup_paths(path: str) -> list[str]:
    """Return the paths for which a Connection at ``path`` (no query) may find a session, best first.

    Trailing slashes and what jambonz appends do not count. A URL parser has percent-encoded what is no ASCII, and a
    person may have more, so the decoded path comes second.
    """
    plain = path.rstrip("/")
    while plain.endswith(_ADULTING):
        plain = plain.removesuffix(_ADULTING).rstrip("/")
    plain = plain or "/"
    decoded = unquote(plain)
    return [plain] if decoded == plain else [plain, decoded]


def path_of(address: str) -> str:
    """Return the path in a hook or a url: no scheme, host, query or trailing slash."""
    # Only where it begins: looked for everywhere, 100 kB of letters take a minute.
    host = _SCHEME.match(address)
    path = address[host.end() if host else 0 :].partition("#")[0].partition("?")[0].rstrip("/")
    return path if path.startswith("/") else f"/{path}"


def shown_hook(hook: str) -> str:
    """Return what of a hook goes into logs: the beginning of its path.

    A query may hold what a caller has said, a URL a password, and whoever sends messages makes it as long as they like.
    """
    return path_of(hook)[:_SHOWN_MAX] if hook else ""


def session_paths(path: str, app: str) -> list[str]:
    """Return the paths under which a Connection's session route is looked up, best first."""
    found = []
    for plain in lookup_paths(path_of(path)):
        found.append(plain)
        name, _, rest = plain.removeprefix("/").partition("/")
        if name == app:
            found.append(f"/{rest}")
    return found


def hook_paths(hook: str, app: str) -> list[str]:
    """Return the paths under which a hook's route is looked up, best first.

    jambonz echoes the hook as it stands in the verb (PROTOCOL.md 1.6). A whole URL may be one that opens a session, as
    that of a ``redirect`` verb does (2.5), so it is read as those are. One that is longer than any verb has none.
    """
    if len(hook) > MAX_MESSAGE_BYTES:
        return []
    return session_paths(hook, app) if _SCHEME.match(hook) else [path_of(hook)]
