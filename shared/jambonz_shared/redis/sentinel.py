"""A Redis whose primary the Sentinels name, so that connections follow a fail-over."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, unquote

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from jambonz_shared.redis.endpoint import Address, UrlEndpoint, host_and_port, split_hosts
from jambonz_shared.redis.errors import code_of
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
        sentinel_password: Option ``sentinel_password``; the Sentinels' own, empty for none.
    """

    sentinels: tuple[Address, ...]
    service: str
    primary: tuple[str, str]
    sentinel_password: str

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
        options = [
            option for option in parts.query.split("&") if option and not option.startswith("sentinel_password=")
        ]
        scheme = parts.scheme.removesuffix("+sentinel")
        login = f"{credentials}@" if credentials else ""
        query = f"?{'&'.join(options)}" if options else ""
        return cls(
            sentinels=tuple(host_and_port(host, _DEFAULT_PORT) for host in hosts.split(",")),
            service=unquote(service),
            primary=(f"{scheme}://{login}", f"/{db or 0}{query}"),
            sentinel_password=_option(parts, "sentinel_password"),
        )

    def primary_at(self, address: str) -> UrlEndpoint:
        """Return the way to the primary at ``host:port``.

        Raises:
            ValueError: If the URL has a bad option.
        """
        return UrlEndpoint(address.join(self.primary))


class SentinelEndpoint:
    """The primary that the Sentinels of a URL name at each connect.

    Raises:
        ValueError: If the URL is not as ``SentinelUrl`` says.
    """

    def __init__(self, url: str) -> None:
        self._url = SentinelUrl.parse(url)
        # Checks the options once, before there is a primary.
        self._url.primary_at("primary:6379")
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
        for sentinel in tuple(self._sentinels):
            try:
                address = await within(_ASK_LIMIT_S, self._named_by(sentinel))
            except (RedisError, OSError) as error:
                # TimeoutError is an OSError. A wrong password is worth more words than a Sentinel that is away.
                refusal = error if isinstance(error, RedisError) and code_of(error) else refusal
                continue
            if address is not None:
                # Whoever knew it is asked first the next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return address
        raise refusal or RedisConnectionError(f"no Sentinel knows the primary of {self._url.service!r}")

    async def _named_by(self, sentinel: Address) -> Address | None:
        password = quote(self._url.sentinel_password, safe="")
        login = f":{password}@" if password else ""
        connection: Any = await UrlEndpoint(f"redis://{login}{sentinel}/0").connect()
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            reply = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return Address(reply[0].decode(), int(reply[1])) if reply else None


def _option(parts: SplitResult, name: str) -> str:
    return parse_qs(parts.query).get(name, [""])[0]
