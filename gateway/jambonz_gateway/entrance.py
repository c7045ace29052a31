"""Brings accepted sockets to their Connection where that takes more than to accept: a PROXY header, TLS."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jambonz_gateway.bucket import Bucket
from jambonz_gateway.core import HANDSHAKE_LIMIT_S
from jambonz_gateway.peers import BadProxyHeader, Proxies, ProxyHeader

log = logging.getLogger(__name__)

# Of the PROXY header at once; what is longer comes in pieces.
_PEEK_BYTES: Final = 4096
# A loop turn accepts so many at most, so that a storm leaves time for the calls that live.
_ACCEPTS_PER_TURN: Final = 100
# asyncio's own servers wait as long when the process has no file descriptor left.
_PAUSE_S: Final = 1.0
# An operator looks for why no call comes in; scanners must not fill the log.
_LOSSES_PER_S: Final = 1 / 60
_LOSSES_AT_ONCE: Final = 10
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Gates:
    """What a socket passes on its way in.

    Attributes:
        proxies: Peers that begin with a PROXY header; all others do not.
        tls: ``None`` for plain text.
    """

    proxies: Proxies
    tls: ssl.SSLContext | None


class Entrance:
    """Accepts connections of one listening socket.

    ``factory`` makes the protocol of a connection whose peer has an address; ``lost`` hears of those whose TLS
    handshake failed, since nothing else tells a protocol that.
    """

    def __init__(
        self,
        listener: socket.socket,
        gates: Gates,
        *,
        factory: Callable[[str], asyncio.Protocol],
        lost: Callable[[asyncio.Protocol], None],
    ) -> None:
        self._listener: Final = listener
        self._gates: Final = gates
        self._factory: Final = factory
        self._lost: Final = lost
        self._loop: Final = asyncio.get_running_loop()
        self._arrivals: Final[set[asyncio.Task[None]]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._losses_told: Final = Bucket(_LOSSES_PER_S, _LOSSES_AT_ONCE, self._loop.time())
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept no more; those that are arriving still do."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                log.error("cannot accept: %s", error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_S, self._go_on)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._bring_in(accepted, peer[0]))
            self._arrivals.add(task)
            task.add_done_callback(self._arrivals.discard)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    async def _bring_in(self, accepted: socket.socket, peer: str) -> None:
        """Lead one socket through the gates; whatever fails there ends this one."""
        made: list[asyncio.Protocol] = []

        def make() -> asyncio.Protocol:
            made.append(self._factory(address))
            return made[0]

        is_in = False
        try:
            async with asyncio.timeout(HANDSHAKE_LIMIT_S):
                address = await self._client_of(accepted, peer)
                await self._loop.connect_accepted_socket(make, accepted, ssl=self._gates.tls)
                is_in = True
        except BadProxyHeader as error:
            log.warning("connection of a trusted proxy refused", extra={"address": peer, "why": str(error)})
        except (OSError, TimeoutError) as error:
            # Checks of balancers come and go without a word. What is no TLS, or ends it with an alert (SSLError is an
            # OSError), are scanners, or all calls: ws:// in jambonz, a PROXY header that is not expected, a client
            # that does not trust the certificate.
            is_told = isinstance(error, ssl.SSLError) and self._losses_told.has_room(self._loop.time())
            level = logging.INFO if is_told else logging.DEBUG
            why = str(error) or type(error).__name__
            log.log(level, "connection lost before the handshake", extra={"address": peer, "why": why})
        finally:
            if not is_in:
                accepted.close()
                for protocol in made:
                    self._lost(protocol)

    async def _client_of(self, accepted: socket.socket, peer: str) -> str:
        if not self._gates.proxies.trusts(peer):
            return peer
        header = ProxyHeader()
        while not header.is_complete:
            peeked = await self._peek(accepted)
            header.feed(accepted.recv(header.wanted(peeked)))
        # Without a client it is the proxy itself that asks, for its health check.
        return header.address or peer

    async def _peek(self, accepted: socket.socket) -> bytes:
        """Wait for bytes, and return them without taking them away.

        Raises:
            BadProxyHeader: If none will come any more.
        """
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(accepted)
        peeked = accepted.recv(_PEEK_BYTES, socket.MSG_PEEK)
        if not peeked:
            raise BadProxyHeader("expected a PROXY header, the connection was closed")
        return peeked
