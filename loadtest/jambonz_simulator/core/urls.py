"""What jambonz reads from the URL of an application, its hash options included. Pure."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from jambonz_simulator.core.effects import Failure
from jambonz_simulator.core.timing import MAX_SOCKETS

_POLICIES: Final = ("ct", "rt", "4xx", "5xx", "all")


@dataclass(frozen=True, slots=True)
class Target:
    """Where an application is, and how stubbornly jambonz tries to reach it.

    Attributes:
        url: Path and query as provisioned, without userinfo and hash.
        credentials: User and password of the userinfo, which win over configured ones.
        max_sockets: Sockets in the life of the call (``rc``); 1 means no reconnect.
        policy: Which failures of a first connect are retried (``rp``).
    """

    url: str
    credentials: tuple[str, str] | None
    max_sockets: int
    policy: frozenset[str]

    def retries(self, failure: Failure) -> bool:
        """True if the first-connect loop tries again after ``failure`` (PROTOCOL.md 1.2)."""
        if "all" in self.policy:
            return True
        match failure.kind:
            case "refused" | "reset" | "connect_timeout":
                return "ct" in self.policy
            case "http":
                return f"{failure.status // 100}xx" in self.policy
            case _:
                # `rt` does not match the handshake timeout either (PROTOCOL.md 1.2).
                return False


def target_of(url: str) -> Target:
    """Read an application URL, ``wss://user:password@host/path?query#rc=5&rp=ct,5xx``.

    Raises:
        ValueError: If the scheme is neither ``ws`` nor ``wss``, or host or port cannot be any.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(f"application URL {url!r}: expected ws://host/path or wss://host:port/path")
    credentials = None
    if parts.username and parts.password:
        credentials = (unquote(parts.username), unquote(parts.password))
    options = parse_qs(parts.fragment)
    host = parts.netloc.rpartition("@")[2]
    bare = parts._replace(netloc=host, fragment="").geturl()
    policy = frozenset(options.get("rp", ["ct"])[0].split(",")) & frozenset(_POLICIES)
    return Target(bare, credentials, _max_sockets(options.get("rc", [""])[0]), policy)


def is_usable(url: str) -> bool:
    """True if `target_of` can read the URL."""
    try:
        target_of(url)
    except ValueError:
        return False
    return True


def _max_sockets(text: str) -> int:
    """``min(abs(parseInt(rc) or 5), 5)``: 0 and nonsense give 5 (PROTOCOL.md 1.5, pitfall 45)."""
    digits = re.match(r"\s*[+-]?(\d+)", text)
    return min(int(digits[1]) if digits else 0, MAX_SOCKETS) or MAX_SOCKETS


def is_absolute_ws(hook: str) -> bool:
    """True for a hook that names another websocket application."""
    return hook.startswith(("ws://", "wss://"))


def is_absolute_http(hook: str) -> bool:
    """True for a hook that jambonz sends as an HTTP webhook instead."""
    return hook.startswith(("http://", "https://"))
