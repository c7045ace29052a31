"""Who may come in: credentials of each app, what is known of them already, and how often anybody may guess. Pure.

``ask`` answers most logins at once. A right one that has not been seen by this process, and a new wrong one, may need
a slow hash first: the shell runs ``Unproven.prove`` outside of its loop and hands the result to ``proved``.
"""

import base64
import binascii
import hmac
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeVar

from jambonz_gateway.bucket import Bucket
from jambonz_shared.credentials import ANY_APP, Credential, SecretHash

# Every table is bounded: an attacker with many addresses makes it forget the oldest, no more.
_KNOWN_MAX: Final = 10_000


class Denied(Enum):
    """Why somebody is not let in."""

    WRONG = "wrong or missing credentials"
    TOO_OFTEN = "too many wrong credentials"


@dataclass(frozen=True, slots=True)
class Granted:
    """Let in.

    Attributes:
        apps: The apps whose paths are open, ``None`` for all.
    """

    apps: frozenset[str] | None = None


_EVERYBODY: Final = Granted()


@dataclass(frozen=True, slots=True)
class Unproven:
    """A login that needs hashes to be computed.

    Attributes:
        address: Where it comes from.
        fingerprint: Stands for user and secret in tables; says nothing outside of this process.
        candidates: The lines of this user, or one that nobody has the secret of.
        edition: Of the credentials it was asked of.
    """

    user: str
    secret: str
    address: str
    fingerprint: bytes
    candidates: tuple[Credential, ...]
    edition: int

    @property
    def is_slow(self) -> bool:
        """True if ``prove`` takes tens of milliseconds or more."""
        return any(candidate.hash.is_slow for candidate in self.candidates)

    def prove(self) -> frozenset[str]:
        """Return the apps this secret opens, empty for none. Every line of the user is tried."""
        matching = [candidate for candidate in self.candidates if candidate.hash.matches(self.secret)]
        return frozenset(app for candidate in matching for app in candidate.apps)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The same login is being proved: ask again when that is done."""

    fingerprint: bytes


class Logins:
    """Judges ``Authorization`` headers (HTTP Basic is all jambonz sends, PROTOCOL.md 1.1).

    A credential that has come from an address once is let in from there whatever others do, so that nobody who guesses
    can lock a feature server out. Wrong ones that come again cost nothing and count as one guess: a misconfigured
    application keeps hearing 401. Guesses are counted per address and user, so an application with a wrong password
    does not harm its neighbours on the same feature server.
    """

    def __init__(self, key: bytes, *, failures_per_minute: int) -> None:
        """Begin without credentials, when everybody is let in; ``key`` is random and of this process."""
        self._key: Final = key
        self._rate: Final = failures_per_minute / 60
        self._burst: Final = float(failures_per_minute)
        self._by_user: dict[str, tuple[Credential, ...]] = {}
        self._nobody: tuple[Credential, ...] = ()
        self._edition = 0
        self._proving: set[bytes] = set()
        self._right: dict[bytes, Granted] = {}
        self._welcome: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def use(self, credentials: Sequence[Credential]) -> None:
        """Ask for these from now on; without any, everybody is let in. Open websockets stay."""
        by_user: dict[str, tuple[Credential, ...]] = {}
        for credential in credentials:
            by_user[credential.user] = (*by_user.get(credential.user, ()), credential)
        self._by_user = by_user
        # A login of nobody takes as long as one of somebody, so that users cannot be found out.
        cost = max((credential.hash.log2_n for credential in credentials), default=0)
        self._nobody = (Credential(frozenset(), "", SecretHash(cost, bytes(16), bytes(32))),)
        self._edition += 1
        self._right.clear()
        self._wrong.clear()
        self._welcome.clear()

    def ask(self, authorization: str | None, address: str, now_s: float) -> Granted | Denied | Unproven | Waiting:
        """Judge the header of a request that comes from ``address``."""
        if not self._by_user:
            return _EVERYBODY
        given = _basic(authorization)
        if given is None:
            return Denied.WRONG
        fingerprint = hmac.digest(self._key, given, "sha256")
        if (fingerprint, address) in self._welcome:
            return self._right[fingerprint]
        if fingerprint in self._wrong:
            return Denied.WRONG
        if fingerprint in self._proving:
            # All calls of an account come back at once when a gateway dies: that is one login, not a thousand guesses.
            return Waiting(fingerprint)
        user, _, secret = given.decode(errors="replace").partition(":")
        bucket = self._bucket(address, user, now_s)
        # Before the secret is looked at, whether it is right or wrong: otherwise the limit would limit nothing.
        if bucket.take(now_s) > 0:
            bucket.give_back()
            return Denied.TOO_OFTEN
        if fingerprint in self._right:
            return self._let_in(fingerprint, address, bucket)
        self._proving.add(fingerprint)
        candidates = self._by_user.get(user, self._nobody)
        return Unproven(user, secret, address, fingerprint, candidates, self._edition)

    def proved(self, login: Unproven, apps: frozenset[str], now_s: float) -> Granted | Denied | None:
        """Take what ``login.prove`` has returned; ``None``: the credentials have changed meanwhile, ask again."""
        if login.edition != self._edition:
            self.given_up(login, now_s)
            return None
        self._proving.discard(login.fingerprint)
        bucket = self._bucket(login.address, login.user, now_s)
        if not apps:
            _remember(self._wrong, login.fingerprint, None)
            return Denied.WRONG
        self._right[login.fingerprint] = Granted(None if ANY_APP in apps else apps)
        return self._let_in(login.fingerprint, login.address, bucket)

    def given_up(self, login: Unproven, now_s: float) -> None:
        """Forget a login that was not proved, because there are too many, or the credentials have changed."""
        self._proving.discard(login.fingerprint)
        self._bucket(login.address, login.user, now_s).give_back()

    def _let_in(self, fingerprint: bytes, address: str, bucket: Bucket) -> Granted:
        _remember(self._welcome, (fingerprint, address), None)
        bucket.give_back()
        return self._right[fingerprint]

    def _bucket(self, address: str, user: str, now_s: float) -> Bucket:
        key = (_neighbourhood(address), user if user in self._by_user else "")
        bucket = self._buckets.get(key) or Bucket(self._rate, self._burst, now_s)
        _remember(self._buckets, key, bucket)
        return bucket


_K = TypeVar("_K")
_V = TypeVar("_V")


def _remember(table: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    """Make ``key`` the newest of a bounded table."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > _KNOWN_MAX:
        table.popitem(last=False)


def _basic(authorization: str | None) -> bytes | None:
    """Return ``user:secret`` of a Basic header; ``None`` if it is none, and so no guess."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return given if b":" in given else None


def _neighbourhood(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 one, which one host may fill alone."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    # Proxies that listen on both tell IPv4 peers as ::ffff:192.0.2.1: all of them are one /64.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return parsed.packed[:8].hex() if isinstance(parsed, IPv6Address) else str(parsed)
