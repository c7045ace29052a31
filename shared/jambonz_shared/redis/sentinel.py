"""A Redis whose primary the Sentinels name, so that connections follow a fail-over."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, unquote

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from jambonz_shared.redis.endpoint import Address, UrlEndpoint, host_and_port, split_hosts
from jambonz_shared.redis.errors import code_of
from jambonz_shared.redis.wire import reason_of
from jambonz_shared.runtime.patience import within

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
_DEFAULT_PORT: Final = 26379

# A third of the time a connection may take: two dead Sentinels must not keep the third from being asked.
_ASK_LIMIT_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The parts of ``redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?options]``.

    Attributes:
        sentinels: Host and port of each Sentinel.
        service: Name under which they watch the primary.
        primary: What stands before and behind host and port in the URL of the primary.
        sentinel: The same for the URL of a Sentinel, with its own password, the option ``sentinel_password``. It
            speaks TLS if the primary does, unless the option ``sentinel_tls`` is ``no``.
    """

    sentinels: tuple[Address, ...]
    service: str
    primary: tuple[str, str]
    sentinel: tuple[str, str]

    @classmethod
    def parse(cls, url: str) -> "SentinelUrl":
        """Return the parts.

        Raises:
            ValueError: If the URL is not of this form; the text does not repeat it, it may hold a password.
        """
        parts, credentials, hosts = split_hosts(url)
        service, _, db = parts.path.strip("/").partition("/")
        if parts.scheme not in SCHEMES or not service or not hosts:
            raise ValueError("Redis URL: expected redis+sentinel://[user:password@]host[:port][,...]/service[/db]")
        options = [option for option in parts.query.split("&") if option and not option.startswith("sentinel_")]
        scheme = parts.scheme.removesuffix("+sentinel")
        login = f"{credentials}@" if credentials else ""
        query = f"?{'&'.join(options)}" if options else ""
        return cls(
            sentinels=tuple(host_and_port(host, _DEFAULT_PORT) for host in hosts.split(",")),
            service=unquote(service),
            primary=(f"{scheme}://{login}", f"/{db or 0}{query}"),
            sentinel=_sentinel_parts(parts, scheme, [option for option in options if option.startswith("ssl_")]),
        )

    def primary_at(self, address: str) -> UrlEndpoint:
        """Return the way to the primary at ``host:port``.

        Raises:
            ValueError: If the URL has a bad option.
        """
        return UrlEndpoint(address.join(self.primary))

    def sentinel_at(self, address: Address) -> UrlEndpoint:
        """Return the way to a Sentinel.

        Raises:
            ValueError: If the URL has a bad option.
        """
        return UrlEndpoint(str(address).join(self.sentinel))


class SentinelEndpoint:
    """The primary that the Sentinels of a URL name at each connect.

    Raises:
        ValueError: If the URL is not as ``SentinelUrl`` says.
    """

    def __init__(self, url: str) -> None:
        self._url = SentinelUrl.parse(url)
        # Checks the options once, before there is a primary.
        self._url.primary_at("primary:6379")
        self._url.sentinel_at(self._url.sentinels[0])
        self._sentinels = list(self._url.sentinels)

    @property
    def name(self) -> str:
        """Service and Sentinels, without credentials."""
        hosts = ",".join(f"{host}:{port}" for host, port in self._url.sentinels)
        return f"redis+sentinel://{hosts}/{self._url.service}"

    async def connect(self) -> AbstractConnection:
        """Return an open connection to the primary, as ``Endpoint.connect`` says."""
        address = await self._primary()
        connection = await self._url.primary_at(str(address)).connect()
        # A Sentinel that was cut off still names the old primary, which may know by now that it is none.
        await connection.send_command("ROLE")
        role = await connection.read_response()
        if role[0] != b"master":
            await connection.disconnect(nowait=True)
            raise RedisConnectionError(f"{address} is no primary (any more)")
        return connection

    async def _primary(self) -> Address:
        refusal: RedisError | None = None
        reasons: dict[Address, str] = {}
        for sentinel in tuple(self._sentinels):
            try:
                address = await within(_ASK_LIMIT_S, self._named_by(sentinel))
            except (RedisError, OSError) as error:
                # TimeoutError is an OSError. A wrong password is worth more words than a Sentinel that is away.
                refusal = error if isinstance(error, RedisError) and code_of(error) else refusal
                reasons[sentinel] = _why_not(error)
                continue
            if address is not None:
                # Whoever knew it is asked first the next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return address
        # In the order of the URL, so that the same trouble is told by the same words.
        told = "; ".join(dict.fromkeys(reasons[one] for one in self._url.sentinels if one in reasons))
        why = f": {told}" if told else ""
        raise refusal or RedisConnectionError(f"no Sentinel knows the primary of {self._url.service!r}{why}")

    async def _named_by(self, sentinel: Address) -> Address | None:
        connection: Any = await self._url.sentinel_at(sentinel).connect()
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            reply = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return Address(reply[0].decode(), int(reply[1])) if reply else None


def _why_not(error: Exception) -> str:
    if isinstance(error, ResponseError):
        # "ERR unknown command 'SENTINEL'"; refusals with a code of their own are told by that.
        return "it is no Sentinel"
    return reason_of(error, _ASK_LIMIT_S)


def _sentinel_parts(parts: SplitResult, scheme: str, tls_options: list[str]) -> tuple[str, str]:
    """Return what stands before and behind host and port in the URL of a Sentinel."""
    tls = _option(parts, "sentinel_tls")
    if tls not in ("", "no"):
        raise ValueError(f"Redis URL: sentinel_tls={tls!r}: expected no")
    password = quote(_option(parts, "sentinel_password"), safe="")
    login = f":{password}@" if password else ""
    if scheme == "redis" or tls:
        return f"redis://{login}", "/0"
    query = f"?{'&'.join(tls_options)}" if tls_options else ""
    return f"rediss://{login}", f"/0{query}"


def _option(parts: SplitResult, name: str) -> str:
    return parse_qs(parts.query).get(name, [""])[0]
