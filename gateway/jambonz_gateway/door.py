"""The listening socket: open while there is room, shut when the process is full or going away."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from jambonz_gateway.entrance import Entrance, Gates

log = logging.getLogger(__name__)

# A storm of reconnects fills the queue of the kernel before the loop turns; Linux cuts it to net.core.somaxconn.
_BACKLOG: Final = 4096


class _Listening(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Visitors:
    """Who is told of a connection.

    Attributes:
        arrived: Makes its protocol; its argument is the peer's address, or empty if the transport knows that.
        lost: Hears of one whose TLS handshake failed.
    """

    arrived: Callable[[str], asyncio.Protocol]
    lost: Callable[[asyncio.Protocol], None]


class Door:
    """Listens on one address.

    Shut, connections are refused by TCP: jambonz tries again, which it would not after an HTTP
    error (PROTOCOL.md 1.2, 1.4, pitfall 6).

    Attributes:
        port: The real port, also when a free one was asked for.
    """

    def __init__(
        self, host: str, port: int, *, visitors: Visitors, gates: Gates | None = None, is_shared: bool = False
    ) -> None:
        """``gates`` is ``None`` where a connection is plain and comes straight from its peer."""
        self.port = port
        self._host: Final = host
        self._visitors: Final = visitors
        self._gates: Final = gates
        self._is_shared: Final = is_shared
        self._server: _Listening | None = None
        self._is_wanted = False
        self._is_opening = False

    @property
    def is_open(self) -> bool:
        """True while new connections are accepted."""
        return self._server is not None

    async def open(self) -> None:
        """Listen; asked again meanwhile, it does nothing.

        Raises:
            OSError: If the address cannot be had.
        """
        self._is_wanted = True
        if self._server is not None or self._is_opening:
            return
        self._is_opening = True
        try:
            if self._gates is None:
                self._server, self.port = await self._listen_plainly()
            else:
                self._server, self.port = self._listen_with(self._gates)
        finally:
            self._is_opening = False
        if not self._is_wanted:
            self.shut()

    def shut(self) -> None:
        """Stop accepting, also if it is being opened just now; open connections stay."""
        self._is_wanted = False
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _listen_plainly(self) -> tuple[_Listening, int]:
        server = await asyncio.get_running_loop().create_server(
            lambda: self._visitors.arrived(""),
            self._host,
            self.port,
            backlog=_BACKLOG,
            reuse_address=True,
            # Several processes on one port: the kernel spreads connections over them.
            reuse_port=self._is_shared,
        )
        return server, server.sockets[0].getsockname()[1]

    def _listen_with(self, gates: Gates) -> tuple[_Listening, int]:
        listener = socket.create_server(
            (self._host, self.port),
            family=socket.AF_INET6 if ":" in self._host else socket.AF_INET,
            backlog=_BACKLOG,
            reuse_port=self._is_shared,
        )
        visitors = self._visitors
        return Entrance(listener, gates, factory=visitors.arrived, lost=visitors.lost), listener.getsockname()[1]
