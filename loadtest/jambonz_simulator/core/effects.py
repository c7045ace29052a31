"""What a simulated call asks its shell to do, what a shell tells it about sockets. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from jambonz_simulator.core.records import CallResult


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Open a websocket with subprotocol ``ws.jambonz.org`` and ``User-Agent: jambonz``.

    Attributes:
        connection: Number of the socket in this call, from 1; all about it carries the number.
        url: Where to, without the hash.
        credentials: User and password for basic authentication; those of the URL win.
        within_s: Limit for the whole handshake; past it, say `Failure("handshake_timeout")`.
    """

    connection: int
    url: str
    credentials: tuple[str, str] | None
    within_s: float


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send ``payload`` as one text message."""

    connection: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Send a close frame with ``code``; say `socket_closed` when the closing handshake ended."""

    connection: int
    code: int


@dataclass(frozen=True, slots=True)
class AbortSocket:
    """Drop the TCP connection without a word, as a crash or a cut cable does."""

    connection: int


@dataclass(frozen=True, slots=True)
class EndCall:
    """The call is over; nothing follows. A socket that is still open was never closed by jambonz."""

    result: "CallResult"


Effect: TypeAlias = OpenSocket | SendFrame | CloseSocket | AbortSocket | EndCall

FailureKind: TypeAlias = Literal[
    "refused", "reset", "connect_timeout", "handshake_timeout", "http", "no_subprotocol", "dns", "tls", "invalid_url"
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a socket did not open.

    Attributes:
        kind: What happened.
        status: HTTP status of the answer if ``kind`` is ``"http"``, else 0.
        keeps_alive: ``False`` if the HTTP answer said ``Connection: close``.
    """

    kind: FailureKind
    status: int = 0
    keeps_alive: bool = True

    def __str__(self) -> str:
        return f"HTTP {self.status}" if self.kind == "http" else self.kind.replace("_", " ")
