"""Under which paths a Connection's application is looked up: the same ones in gateways and workers. Pure."""

from typing import Final
from urllib.parse import unquote

_ADULTING: Final = "/adulting"
"""jambonz appends it to the application's URL, each time once more (PROTOCOL.md 2.7, P36)."""


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
