"""Where Redis is, and how a connection to it is opened."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import ResponseError as RedisResponseError

from jambonz_shared.redis.names import NAMES

# A Redis that does not even accept and authenticate within this time is of no use to a hook with a 5 s deadline
# (PROTOCOL.md 2.3); trying again may reach another server behind the same name.
CONNECT_LIMIT_S: Final = 1.0

# A server that refuses unasked does so as soon as it has accepted: a round trip, and some time for a busy machine.
_UNASKED_S: Final = 0.1

_FILE_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})

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
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except RedisConnectionError as error:
            # Its subclasses, such as AuthenticationError, are answers.
            is_cut = (
                type(error) is RedisConnectionError and isinstance(connection, _AtAddress) and connection.was_reached
            )
            if is_cut and (words := await self._unasked_words()):
                raise _refusal_of(words) from None
            if file_trouble := self._file_trouble():
                raise RedisConnectionError(file_trouble) from None
            raise
        return connection

    def _file_trouble(self) -> str:
        """Return which file of the options cannot be used, and why: OpenSSL names none. Empty if all can be read."""
        for option in _FILE_OPTIONS & self._options.keys():
            path = self._options[option]
            try:
                Path(path).open("rb").close()
                if option == "ssl_ca_certs":
                    ssl.create_default_context(cafile=path)
            except OSError as error:
                # ssl.SSLError is an OSError: "no certificate or crl found".
                return f"{option}={path!r} cannot be used: {error.strerror or error}"
        return ""

    async def _unasked_words(self) -> str:
        """Return with what error a server closes the connection of one who says nothing; empty if it does not.

        With ``maxclients`` reached, and in protected mode, Redis says so at once and closes (networking.c,
        ``acceptCommonHandler``). Whoever writes meanwhile, as redis-py does, mostly hears of the close alone. Over TLS
        it says nothing at all.
        """
        listener = self._make()
        assert isinstance(listener, _AtAddress), "connect asks"
        words = b""
        # Whatever goes wrong here, the first try tells more.
        with suppress(OSError, RedisError, ValueError):
            try:
                await listener._connect()  # noqa: SLF001
                async with asyncio.timeout(_UNASKED_S):
                    words = await listener.first_line()
            finally:
                await listener.disconnect(nowait=True)
        return words.decode(errors="replace").strip()[1:] if words.startswith(b"-") else ""

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
    was_reached = False
    """Whether the server has accepted; what failed then was said over the connection."""

    async def first_line(self) -> bytes:
        """Return what an open connection says before it is asked anything; empty if it is closed without a word."""
        assert self._reader is not None, "_connect comes first"
        return await self._reader.readline()

    async def _connect(self) -> None:
        *others, last = await NAMES.addresses_of(self.host)
        for address in others:
            with suppress(OSError):
                return await self._connect_to(address)
        return await self._connect_to(last)

    async def _connect_to(self, address: str) -> None:
        self._address = address
        await super()._connect()  # type: ignore[no-untyped-call]
        self.was_reached = True

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


def _refusal_of(words: str) -> RedisError:
    """Return what redis-py raises for an error reply: an ``ERR`` may be anything, other codes stand for themselves."""
    code, _, text = words.partition(" ")
    return RedisConnectionError(text) if code == "ERR" else RedisResponseError(text, status_code=code)


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
