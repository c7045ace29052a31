"""Outcome: what became of a Directive, for whoever sent it. Pure."""

from dataclasses import dataclass
from enum import Enum

from jambonz_shared.errors import BadFormat


class OutcomeKind(Enum):
    """What became of a Directive."""

    SENT = "sent"
    QUEUED = "queued"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the Directive ``directive_id``; ``reason`` says why it was refused."""

    directive_id: str
    kind: OutcomeKind
    reason: str = ""

    def encode(self) -> bytes:
        """Return the message for the channel of outcomes."""
        return f"{self.directive_id}\x1f{self.kind.value}\x1f{self.reason}".encode()

    @classmethod
    def decode(cls, raw: bytes) -> "Outcome":
        """Return the Outcome in ``raw``.

        Raises:
            BadFormat: If it is none.
        """
        try:
            directive_id, kind, reason = raw.decode().split("\x1f")
            return cls(directive_id, OutcomeKind(kind), reason)
        except ValueError as error:
            raise BadFormat(f"expected an outcome, got {len(raw)} bytes: {error}") from None
