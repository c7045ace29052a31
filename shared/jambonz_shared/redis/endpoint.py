"""Where Redis is, and how a connection to it is opened."""

from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from jambonz_shared.redis.names import NAMES

# A Redis that does not even accept and authenticate within this time is of no use to a hook with a 5 s deadline
# (PROTOCOL.md 2.3); trying again may reach another server behind the same name.
CONNECT_LIMIT_S: Final = 1.0

# Repeats nothing of the URL: where it is cut wrongly, a piece of the password stands in the place of a host or port.
_BAD_ADDRESS: Final = "Redis URL: expected user:password@host:port; percent-encode / # ? @ in the password"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address that ``host:port`` names, as it stands in MOVED and ASK."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))


class Endpoint(Protocol):
    """A Redis server that may be another one at each ``connect`` (Sentinel, a name with several addresses)."""

    @property
    def name(self) -> str:
        """The server for log lines, without a password."""
        ...

    async def connect(self) -> AbstractConnection:
        """Return an open connection: authenticated, its database selected, RESP2, nothing in flight.

        Raises:
            redis.RedisError, OSError: If there is none to be had now. Cancelling leaves nothing open.
        """
        ...


class UrlEndpoint:
    """The one server of a ``redis://``, ``rediss://`` or ``unix://`` URL.

    Raises:
        ValueError: If the URL is none of these or has a bad option; the text repeats no password.
    """

    def __init__(self, url: str) -> None:
        parts = _parts_of(url)
        options: dict[str, Any] = dict(parse_url(url))
        connection_class: type[AbstractConnection] = options.pop("connection_class", Connection)
        self._connection_class = _AT_ADDRESS.get(connection_class, connection_class)
        # RESP2: pushes and maintenance notices of RESP3 would come between the replies that we count. No timeout of
        # redis-py: whoever calls ``connect`` bounds all of it, and its own use of asyncio.wait_for swallows a
        # cancellation now and then (Python 3.11, gh-86296).
        self._options = options | {
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_LIMIT_S,
            "decode_responses": False,
        }
        self._make()
        self._name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def name(self) -> str:
        """The URL without credentials and options."""
        return self._name

    async def connect(self) -> AbstractConnection:
        """Return an open connection, as ``Endpoint.connect`` says."""
        connection = self._make()
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    def _make(self) -> AbstractConnection:
        try:
            return self._connection_class(**self._options)
        except TypeError as error:
            # "... got an unexpected keyword argument 'nosuch'"
            raise ValueError(f"Redis URL: no such option: {str(error).rpartition(' ')[2]}") from None
        except RedisError as error:
            raise ValueError(f"Redis URL: {error}") from None


class _AtAddress(Connection):
    """A connection that looks its host up by ``names``; the name is still what a certificate has to say."""

    _address = ""

    async def _connect(self) -> None:
        *others, last = await NAMES.addresses_of(self.host)
        for address in others:
            with suppress(OSError):
                return await self._connect_to(address)
        return await self._connect_to(last)

    async def _connect_to(self, address: str) -> None:
        self._address = address
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {**super()._connection_arguments(), "host": self._address}
        if isinstance(self, SSLConnection):
            arguments["server_hostname"] = self.host
        return arguments


class _SecureAtAddress(_AtAddress, SSLConnection):
    """The same over TLS."""


_AT_ADDRESS: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _AtAddress,
    SSLConnection: _SecureAtAddress,
}


def _parts_of(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(_BAD_ADDRESS) from None
    before, at, _ = parts.query.partition("@")
    is_cut = parts.fragment or "@" in parts.path or (at and "=" not in before)
    if parts.scheme != "unix" and is_cut:
        raise ValueError(_BAD_ADDRESS)
    return parts


def host_and_port(text: str, default_port: int) -> Address:
    """Return the parts of ``host[:port]``.

    Raises:
        ValueError: If it is not of this form; the text does not repeat it, it may hold a password.
    """
    parts = _parts_of(f"//{text}")
    if not parts.hostname:
        raise ValueError(_BAD_ADDRESS)
    return Address(parts.hostname, parts.port or default_port)


def split_hosts(url: str) -> tuple[SplitResult, str, str]:
    """Return a URL of several hosts without them, its login, and the hosts as they stand there.

    A Python with the fix of gh-105704 (3.11.12, 3.12.9, 3.13.2, and Debian's) takes ``[`` nowhere but at the beginning
    of one host, so the hosts are taken out before it looks.

    Raises:
        ValueError: If a character of the password has to be percent-encoded.
    """
    scheme, _, rest = url.partition("://")
    authority = rest[: min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))]
    login, _, hosts = authority.rpartition("@")
    return _parts_of(f"{scheme}://{rest[len(authority) :]}"), login, hosts
