"""The listening socket: open while there is room, shut when the process is full or going away."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

# A storm of reconnects fills the queue of the kernel before the loop turns; Linux cuts it to net.core.somaxconn.
_BACKLOG: Final = 4096


class Door:
    """Listens on one address.

    Shut, connections are refused by TCP: jambonz tries again, which it would not after an HTTP
    error (PROTOCOL.md 1.2, 1.4, P6).

    Attributes:
        port: The real port, also when a free one was asked for.
    """

    def __init__(self, host: str, port: int, *, factory: Callable[[], asyncio.Protocol], is_shared: bool) -> None:
        self.port = port
        self._host: Final = host
        self._factory: Final = factory
        self._is_shared: Final = is_shared
        self._server: asyncio.Server | None = None
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
            server = await asyncio.get_running_loop().create_server(
                self._factory,
                self._host,
                self.port,
                backlog=_BACKLOG,
                reuse_address=True,
                # Several processes on one port: the kernel spreads connections over them.
                reuse_port=self._is_shared,
            )
        finally:
            self._is_opening = False
        self.port = server.sockets[0].getsockname()[1]
        self._server = server
        if not self._is_wanted:
            self.shut()

    def shut(self) -> None:
        """Stop accepting, also if it is being opened just now; open connections stay."""
        self._is_wanted = False
        if self._server is not None:
            self._server.close()
            self._server = None
