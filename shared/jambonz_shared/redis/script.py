"""The Lua scripts as they lie beside this module, one per file."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script that Redis runs as one step.

    Attributes:
        sha: Hex SHA-1 of the source, under which Redis keeps it.
    """

    name: str
    source: bytes = field(repr=False)
    sha: bytes

    @classmethod
    def of(cls, name: str, source: bytes) -> "Script":
        """Return the script of a source."""
        # SHA-1 is the name Redis gives (EVALSHA), no protection.
        return cls(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


@cache
def sharded(script: Script) -> Script:
    """Return a script as it is in a Redis Cluster: what it publishes goes to the servers of the channel's slot only.

    Two sources, because Redis 6.2 knows no sharded channels, and a plain one would go to every server of a cluster.
    """
    return Script.of(script.name, script.source.replace(b"redis.call('PUBLISH'", b"redis.call('SPUBLISH'"))


def _packaged(name: str) -> Script:
    return Script.of(name, resources.files(__package__).joinpath("lua", f"{name}.lua").read_bytes())


ATTACH: Final = _packaged("attach")
DETACH: Final = _packaged("detach")
CLAIM: Final = _packaged("claim")
COMMIT: Final = _packaged("commit")
SEND: Final = _packaged("send")
ACKED: Final = _packaged("acked")
END: Final = _packaged("end")
ORPHAN: Final = _packaged("orphan")
HEARTBEAT: Final = _packaged("heartbeat")
ABANDON: Final = _packaged("abandon")
RESTORE: Final = _packaged("restore")
BURY: Final = _packaged("bury")
RETIRE: Final = _packaged("retire")
UNDELIVERED: Final = _packaged("undelivered")
TRIM: Final = _packaged("trim")

ALL: Final = (
    ATTACH, DETACH, CLAIM, COMMIT, SEND, UNDELIVERED, ACKED, END, ORPHAN, HEARTBEAT, ABANDON, RESTORE, BURY, RETIRE,
    TRIM,
)  # fmt: skip
