"""What a Connection needs from the gateway process it lives in."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jambonz_gateway.accounts import Accounts
    from jambonz_gateway.connection import Connection
    from jambonz_gateway.effects import Effect
    from jambonz_gateway.handshake import Welcome
    from jambonz_gateway.session import Session
    from jambonz_gateway.tally import Tally
    from jambonz_gateway.turns import Turns
    from jambonz_gateway.upgrade import Asked
    from jambonz_gateway.wheel import Wheel


class Cut(Enum):
    """Why a socket is cut without a closing handshake."""

    SLOW = "the peer does not read"
    SILENT = "the peer does not answer pings"


class Switchboard(Protocol):
    """What a Connection asks its gateway process for."""

    wheel: Wheel
    turns: Turns
    ping_interval_s: float
    max_event_bytes: int
    accounts: Accounts
    tally: Tally

    def requested(self, connection: Connection, asked: Asked) -> None:
        """Answer an HTTP request with ``connection.welcome`` or ``connection.answer``, now or soon."""

    def unusual(self, connection: Connection, data: bytes) -> None:
        """Note the first bytes of a peer that are not the usual upgrade; they are answered as any request."""

    def opened(self, connection: Connection, welcome: Welcome) -> Session:
        """Return the Session of a Connection whose websocket has just opened."""

    def perform(self, connection: Connection, effects: list[Effect]) -> None:
        """Carry out effects in order."""

    def throttled(self, connection: Connection) -> None:
        """Note that a peer talks too much and is not listened to for a while."""

    def gone(self, connection: Connection, code: int | None) -> None:
        """Note that the socket is closed; ``code`` is ``None`` if it never was a websocket."""

    def cut(self, connection: Connection, why: Cut) -> None:
        """Note that a peer is being cut off."""

    def failed(self, connection: Connection, error: Exception) -> None:
        """Note an error of our own."""
