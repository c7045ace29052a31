"""Where a connection really comes from, when a proxy stands in front: only what trusted proxies say counts. Pure."""

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

# The PROXY protocol, versions 1 and 2 (haproxy doc/proxy-protocol.txt, 2.1 and 2.2).
_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_BEGIN: Final = b"PROXY "
_V2_FIXED_BYTES: Final = 16
_V2_LENGTH: Final = struct.Struct("!H")
# "The largest v1 header is 107 bytes"; of v2 this much holds every address and some additional fields (TLVs).
_V1_LIMIT_BYTES: Final = 107
_V2_LIMIT_BYTES: Final = 2048
_V2_LOCAL: Final = 0x20
_V2_PROXY: Final = 0x21
_V2_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
_V1: Final = re.compile(rb"PROXY TCP[46] (\S+) \S+ \d{1,5} \d{1,5}\r\n\Z")
_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN[^\r\n]*\r\n\Z")

# RFC 7239: for=192.0.2.43, for="[2001:db8::17]:4711", among other parameters.
_FORWARDED_FOR: Final = re.compile(r"(?i)(?:\A|;)\s*for\s*=\s*(?:\"([^\"]*)\"|([^;,\s]*))")


X_FORWARDED_FOR: Final = "x-forwarded-for"
FORWARDED: Final = "forwarded"


class BadProxyHeader(ValueError):
    """A trusted proxy has sent something else than the PROXY protocol."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies whose word counts.

    Attributes:
        networks: Where they are.
        header: The one in which they tell it, in lower case. No other is looked at: what a proxy does not write itself
            it passes on, as the client has invented it.
    """

    networks: tuple[IPv4Network | IPv6Network, ...]
    header: str = X_FORWARDED_FOR

    @classmethod
    def parse(cls, text: str, header: str = X_FORWARDED_FOR) -> "Proxies":
        """Read addresses and networks with commas between them, of proxies that write ``header``.

        Raises:
            ValueError: If one of them is neither.
        """
        return cls(tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()), header)

    def trusts(self, address: str) -> bool:
        """Tell whether ``address`` is one of them."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        # A socket that listens on both shows IPv4 peers as ::ffff:192.0.2.1.
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(mapped in network for network in self.networks)

    def client(self, address: str, headers: Mapping[str, str]) -> str:
        """Return the address that their header tells if it comes from a trusted proxy, else ``address``.

        The names of ``headers`` are in lower case. Each proxy appends who it has heard from, so the list is read from
        its end, as far as it was written by trusted ones; what stands before may be anybody's invention.
        """
        if not self.networks:
            return address
        told = headers.get(self.header, "")
        for hop in reversed(list(_hops_of_rfc_7239(told) if self.header == FORWARDED else _hops(told))):
            if not self.trusts(address):
                break
            try:
                address = str(ip_address(hop))
            except ValueError:
                # "unknown", or a name that hides the address: nobody further away can be believed.
                break
        return address


def _hops_of_rfc_7239(forwarded: str) -> Iterable[str]:
    for element in forwarded.split(","):
        match = _FORWARDED_FOR.search(element)
        yield _without_port((match[1] or match[2] or "") if match else "")


def _hops(x_forwarded_for: str) -> Iterable[str]:
    for hop in x_forwarded_for.split(","):
        if hop.strip():
            yield _without_port(hop.strip())


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def is_proxy_header(data: bytes) -> bool:
    """Tell whether a connection begins with a PROXY header, as far as it has come: 12 bytes of version 2, 6 of 1."""
    return data.startswith((_V2_SIGNATURE, _V1_BEGIN))


class ProxyHeader:
    """Reads one PROXY header from a socket without taking a byte of what follows it.

    Look at what the socket has (``MSG_PEEK``), ask ``wanted`` how much of it belongs to the header, take that much,
    and ``feed`` it; until ``is_complete``.

    Attributes:
        address: The client; empty for a connection of the proxy's own (its health check).
    """

    def __init__(self) -> None:
        self.address = ""
        self.is_complete = False
        self._taken = b""

    def wanted(self, peeked: bytes) -> int:
        """Return how many of these bytes, the next of the socket, belong to the header; at least 1.

        Raises:
            BadProxyHeader: If they are no PROXY header.
        """
        start = (self._taken + peeked)[: len(_V2_SIGNATURE)]
        if _V2_SIGNATURE.startswith(start):
            return min(len(peeked), self._v2_bytes() - len(self._taken))
        if _V1_BEGIN.startswith(start[:6]):
            end = (self._taken + peeked).find(b"\r\n")
            return len(peeked) if end < 0 else end + 2 - len(self._taken)
        raise BadProxyHeader("expected a PROXY header")

    def feed(self, data: bytes) -> None:
        """Take bytes of the header.

        Raises:
            BadProxyHeader: If it cannot be understood.
        """
        self._taken += data
        if self._taken.startswith(_V2_SIGNATURE):
            if len(self._taken) >= _V2_FIXED_BYTES and len(self._taken) == self._v2_bytes():
                self.address = _v2_address(self._taken)
                self.is_complete = True
        elif self._taken.endswith(b"\r\n") and self._taken.startswith(_V1_BEGIN):
            self.address = _v1_address(self._taken)
            self.is_complete = True
        elif len(self._taken) >= _V1_LIMIT_BYTES:
            raise BadProxyHeader(f"expected a PROXY header of at most {_V1_LIMIT_BYTES} bytes")

    def _v2_bytes(self) -> int:
        """Return the length of the header, as far as it is known."""
        if len(self._taken) < _V2_FIXED_BYTES:
            return _V2_FIXED_BYTES
        more: int = _V2_LENGTH.unpack_from(self._taken, 14)[0]
        if more > _V2_LIMIT_BYTES:
            raise BadProxyHeader(f"expected a PROXY header of at most {_V2_LIMIT_BYTES} bytes, got {more}")
        return _V2_FIXED_BYTES + more


def _v1_address(header: bytes) -> str:
    if _V1_UNKNOWN.match(header):
        return ""
    match = _V1.match(header)
    if match is None:
        raise BadProxyHeader("expected PROXY TCP4, TCP6 or UNKNOWN with addresses and ports")
    try:
        return str(ip_address(match[1].decode("ascii")))
    except ValueError:
        raise BadProxyHeader("expected an IP address in the PROXY header") from None


def _v2_address(header: bytes) -> str:
    command, family = header[12], header[13]
    if command == _V2_LOCAL:
        return ""
    if command != _V2_PROXY:
        raise BadProxyHeader(f"expected version 2 and LOCAL or PROXY, got {command:#04x}")
    size = _V2_ADDRESS_BYTES.get(family)
    if size is None:
        # Unix sockets, UDP and what is not specified: no address that could be used.
        return ""
    if len(header) < _V2_FIXED_BYTES + 2 * size + 4:
        raise BadProxyHeader("expected addresses in the PROXY header, it is too short")
    return str(ip_address(header[_V2_FIXED_BYTES : _V2_FIXED_BYTES + size]))
