"""Who may open websockets of which app: lines of ``app:user:hash``, and how the hashes are made. Pure.

Two schemes, each ``name.parameters.salt.digest`` with the last two in hexadecimal:

* ``sha256.SALT.DIGEST`` for secrets that a machine has made (128 bits and more). Nobody can try those out, so one
  cheap hash is enough, and a gateway that has just started checks a thousand accounts in a few milliseconds.
* ``scrypt.LOG2N.SALT.DIGEST`` for passwords that a person has chosen. At 14 one try costs an attacker who has stolen
  the file 16 MiB and some 50 ms; it costs a gateway the same, once per credential and process.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jambonz_shared.keys import APP_NAME

SALT_BYTES: Final = 16
SCRYPT_LOG2N: Final = 14
# Below 10 it is no slow hash; one of more than 15 (32 MiB, 100 ms) takes too much of the 1.5 s of a handshake
# (PROTOCOL.md 1.1).
_LOG2N_RANGE: Final = range(10, 16)
_SCRYPT_R: Final = 8
_SCRYPT_MEMORY: Final = 64 * 1024**2
_DIGEST_BYTES: Final = 32
ANY_APP: Final = "*"
EXPECTED: Final = "lines of app:user:hash, as `jambonz-cluster config hash-secret` prints them"
# Each line of a user may cost one slow hash: two secrets while one replaces the other, a few apps.
LINES_PER_USER_MAX: Final = 8

_SHA256: Final = re.compile(r"sha256\.([0-9a-f]{32})\.([0-9a-f]{64})\Z")
_SCRYPT: Final = re.compile(r"scrypt\.(\d{2})\.([0-9a-f]{32})\.([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True)
class SecretHash:
    """What is kept of a secret.

    Attributes:
        log2_n: The cost of scrypt; 0 for SHA-256.
    """

    log2_n: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, secret: str, salt: bytes, *, log2_n: int = SCRYPT_LOG2N) -> "SecretHash":
        """Return the hash of a secret; with ``log2_n`` 0 the cheap one, for secrets made by a machine."""
        return cls(log2_n, salt, _digest(secret, salt, log2_n))

    @classmethod
    def parse(cls, text: str) -> "SecretHash":
        """Read what ``str`` gives.

        Raises:
            ValueError: If it is neither of the two schemes; the text is not repeated.
        """
        if match := _SHA256.match(text):
            return cls(0, bytes.fromhex(match[1]), bytes.fromhex(match[2]))
        match = _SCRYPT.match(text)
        if match is None or int(match[1]) not in _LOG2N_RANGE:
            raise ValueError("expected a hash that begins with sha256. or scrypt., with a cost of 10 to 15")
        return cls(int(match[1]), bytes.fromhex(match[2]), bytes.fromhex(match[3]))

    @property
    def is_slow(self) -> bool:
        """True if ``matches`` takes tens of milliseconds: not for an event loop."""
        return self.log2_n > 0

    def matches(self, secret: str) -> bool:
        """Tell whether it is the hash of ``secret``, in a time that does not depend on how wrong that is."""
        return hmac.compare_digest(_digest(secret, self.salt, self.log2_n), self.digest)

    def __str__(self) -> str:
        scheme = f"scrypt.{self.log2_n}" if self.log2_n else "sha256"
        return f"{scheme}.{self.salt.hex()}.{self.digest.hex()}"


@dataclass(frozen=True, slots=True)
class Credential:
    """One line: who knows the secret may open websockets of these apps.

    Attributes:
        apps: Names of apps; ``*`` among them stands for all.
    """

    apps: frozenset[str]
    user: str
    hash: SecretHash

    def __str__(self) -> str:
        return f"{','.join(sorted(self.apps))}:{self.user}:{self.hash}"


def credential_of(line: str) -> Credential:
    """Return what one line says: apps with commas between them, user, hash.

    Raises:
        ValueError: If it is no such line; no part of it is repeated.
    """
    parts = line.split(":")
    if len(parts) != 3:
        raise ValueError(f"expected app:user:hash, got {len(parts)} parts")
    apps = frozenset(parts[0].split(","))
    if not all(app == ANY_APP or APP_NAME.match(app) for app in apps):
        raise ValueError(f"expected names of apps, or {ANY_APP}, before the first colon")
    if not parts[1]:
        raise ValueError("expected a user between the colons")
    return Credential(apps, parts[1], SecretHash.parse(parts[2]))


def read_credentials(text: str) -> list[Credential]:
    """Return what the lines say; empty ones and those that begin with ``#`` say nothing.

    Raises:
        ValueError: With a sentence for the first line that cannot be used.
    """
    found: list[Credential] = []
    for number, line in _lines(text):
        try:
            found.append(credential_of(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    if found and max(Counter(credential.user for credential in found).values()) > LINES_PER_USER_MAX:
        raise ValueError(f"expected at most {LINES_PER_USER_MAX} lines of one user")
    return found


def problem_in(text: str) -> str:
    """Return why ``read_credentials`` would refuse the text, or nothing."""
    try:
        read_credentials(text)
    except ValueError as error:
        return str(error)
    return ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def _digest(secret: str, salt: bytes, log2_n: int) -> bytes:
    if not log2_n:
        return hashlib.sha256(salt + secret.encode()).digest()
    return hashlib.scrypt(
        secret.encode(), salt=salt, n=1 << log2_n, r=_SCRYPT_R, p=1, maxmem=_SCRYPT_MEMORY, dklen=_DIGEST_BYTES
    )
