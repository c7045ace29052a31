"""Where message and call ids come from: given to the core, so that tests know them. Pure."""

from typing import Protocol


class Ids(Protocol):
    """A source of ids; each one is new."""

    def msgid(self) -> str:
        """Give a short id of up to 22 characters (PROTOCOL.md 2.1)."""
        ...

    def sid(self) -> str:
        """Give a UUID for a call, a SIP call id or a trace."""
        ...


class CountingIds:
    """Ids that tell their order: ``m1``, ``m2`` ... and UUIDs that count."""

    def __init__(self) -> None:
        self._msgids = 0
        self._sids = 0

    def msgid(self) -> str:
        """Give the next of ``m1``, ``m2`` ..."""
        self._msgids += 1
        return f"m{self._msgids}"

    def sid(self) -> str:
        """Give the next of ``00000000-0000-4000-8000-000000000001`` ..."""
        self._sids += 1
        return f"00000000-0000-4000-8000-{self._sids:012d}"
