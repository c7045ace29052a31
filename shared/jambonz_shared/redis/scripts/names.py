"""What all scripts of a Call share: its names in Redis, and the answers that any of them may give. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import Keys

Argument: TypeAlias = bytes | str | int
KeysAndArgs: TypeAlias = tuple[Sequence[str], Sequence[Argument]]


@dataclass(init=False, slots=True)
class CallKeys:
    """The names of one Call in Redis; made once per Call."""

    call: str
    chan: str

    def __init__(self, call: str, chan: str) -> None:
        self.call = call
        self.chan = chan

    @classmethod
    def of(cls, keys: Keys, call_sid: str) -> "CallKeys":
        """Return the names for a ``call_sid``."""
        return cls(keys.call(call_sid), keys.chan(call_sid))


@dataclass(frozen=True, slots=True)
class Gone:
    """The Call has ended, or never was: its hash does not exist."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """Another worker has claimed the Call since; nothing was done.

    Attributes:
        owner: Worker that owns it now; empty if nobody does.
    """

    owner: str


@dataclass(frozen=True, slots=True)
class OtherApp:
    """The Call belongs to another app; nothing was done."""

    app: str


GONE: Final = Gone()


def unexpected(name: str, reply: object) -> BadFormat:
    """Return the error for a reply that no script of this version gives."""
    # The shape only: a reply may hold facts and state of the Call.
    head = reply[0] if isinstance(reply, list) and reply else type(reply).__name__
    return BadFormat(f"script {name}: expected a reply of this version, got one that starts with {head!r}")
