"""Where a connection really comes from."""

import socket
import struct

import pytest

from jambonz_gateway.peers import BadProxyHeader, Proxies, ProxyHeader

PROXIES = Proxies.parse("10.0.0.0/24, 2001:db8::1")
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
JAMBONZ = "192.0.2.7"
PROXY = "10.0.0.5"


def v2(source: str, *, command: int = 0x21, family: int = 0x11, more: bytes = b"") -> bytes:
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(kind, source) * 2 + struct.pack("!HH", 5000, 3000) + more
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(addresses)) + addresses


def read(stream: bytes, *, step: int = 1 << 16) -> tuple[str, bytes]:
    """Read a header from a socket that shows at most ``step`` bytes at once; return the address, and what is left."""
    header = ProxyHeader()
    while not header.is_complete:
        peeked = stream[:step]
        assert peeked, "the header never ends"
        wanted = header.wanted(peeked)
        assert 1 <= wanted <= len(peeked)
        header.feed(stream[:wanted])
        stream = stream[wanted:]
    return header.address, stream


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 16])
@pytest.mark.parametrize(
    ("header", "address"),
    [
        pytest.param(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 3000\r\n", JAMBONZ, id="v1"),
        pytest.param(b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 3000\r\n", "2001:db8::7", id="v1_ipv6"),
        pytest.param(b"PROXY UNKNOWN\r\n", "", id="v1_health_check"),
        pytest.param(v2(JAMBONZ), JAMBONZ, id="v2"),
        pytest.param(v2("2001:db8::7", family=0x21), "2001:db8::7", id="v2_ipv6"),
        pytest.param(v2(JAMBONZ, more=b"\x03\x00\x04\x01\x02\x03\x04"), JAMBONZ, id="v2_with_more_fields"),
        pytest.param(v2(JAMBONZ, command=0x20), "", id="v2_health_check"),
        pytest.param(v2(JAMBONZ, family=0x31), "", id="v2_unix"),
    ],
)
def test_header_is_read_to_its_last_byte_and_not_further(header: bytes, address: str, step: int) -> None:
    """What follows is TLS or HTTP, and another one's to read, however the network cuts it up."""
    assert read(header + b"GET / HTTP/1.1\r\n", step=step) == (address, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="http"),
        pytest.param(b"\x16\x03\x01", id="tls"),
        pytest.param(b"PROXY TCP4 somewhere 10.0.0.1 1 2\r\n", id="v1_name"),
        pytest.param(b"PROXY TCP4 192.0.2.7\r\n", id="v1_short"),
        pytest.param(b"PROXY TCP4 " + b"1" * 200, id="v1_endless"),
        pytest.param(SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12), id="v2_other_version"),
        pytest.param(SIGNATURE + b"\x21\x11\x00\x04" + bytes(4), id="v2_short"),
        pytest.param(SIGNATURE + b"\x21\x11\xff\xff" + bytes(70_000), id="v2_endless"),
    ],
)
def test_what_is_no_header_is_refused(stream: bytes) -> None:
    """A trusted proxy that does not speak it is misconfigured; guessing would let anybody name an address."""
    with pytest.raises(BadProxyHeader):
        read(stream)


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.0.0.5", True),
        ("10.0.1.5", False),
        ("::ffff:10.0.0.5", True),
        ("2001:db8::1", True),
        ("2001:db8::2", False),
        ("", False),
    ],
)
def test_networks_and_addresses_are_trusted(address: str, is_trusted: bool) -> None:
    """A socket for both families shows IPv4 peers as IPv6 addresses."""
    assert PROXIES.trusts(address) is is_trusted


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        pytest.param({}, PROXY, id="none"),
        pytest.param({"x-forwarded-for": JAMBONZ}, JAMBONZ, id="one_proxy"),
        pytest.param({"x-forwarded-for": f"1.2.3.4, {JAMBONZ}"}, JAMBONZ, id="invented_by_the_client"),
        pytest.param({"x-forwarded-for": f"{JAMBONZ}, 10.0.0.9"}, JAMBONZ, id="two_proxies"),
        pytest.param({"x-forwarded-for": f"{JAMBONZ}:4711"}, JAMBONZ, id="with_a_port"),
        pytest.param({"x-forwarded-for": "2001:db8::7"}, "2001:db8::7", id="ipv6"),
        pytest.param({"x-forwarded-for": "[2001:db8::7]:4711"}, "2001:db8::7", id="ipv6_with_a_port"),
        pytest.param({"x-forwarded-for": f"{JAMBONZ}, unknown"}, PROXY, id="unknown"),
        pytest.param({"forwarded": "for=1.2.3.4", "x-forwarded-for": JAMBONZ}, JAMBONZ, id="invented_forwarded"),
        pytest.param({"forwarded": "for=1.2.3.4"}, PROXY, id="invented_forwarded_alone"),
    ],
)
def test_header_of_a_trusted_proxy_tells_the_client(headers: dict[str, str], client: str) -> None:
    """The list is believed from its end, as far as trusted proxies have written it; no other header is."""
    assert PROXIES.client(PROXY, headers) == client


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        pytest.param({"forwarded": f"for={JAMBONZ}"}, JAMBONZ, id="rfc_7239"),
        pytest.param({"forwarded": f"proto=https; For={JAMBONZ};by=x, for=10.0.0.9"}, JAMBONZ, id="rfc_7239_two"),
        pytest.param({"forwarded": 'for="[2001:db8::7]:4711"'}, "2001:db8::7", id="rfc_7239_ipv6"),
        pytest.param({"forwarded": f"for={JAMBONZ}, by=10.0.0.9"}, PROXY, id="rfc_7239_nothing_said"),
        pytest.param({"forwarded": f"for={JAMBONZ}", "x-forwarded-for": "1.2.3.4"}, JAMBONZ, id="both"),
        pytest.param({"x-forwarded-for": "1.2.3.4"}, PROXY, id="invented_x_forwarded_for"),
    ],
)
def test_proxies_may_write_forwarded_instead(headers: dict[str, str], client: str) -> None:
    """RFC 7239; then X-Forwarded-For is what a client has written."""
    assert Proxies.parse("10.0.0.0/24", "forwarded").client(PROXY, headers) == client


def test_headers_of_anybody_else_tell_nothing() -> None:
    """Otherwise whoever guesses secrets had a new address for each guess."""
    assert PROXIES.client(JAMBONZ, {"x-forwarded-for": "1.2.3.4", "forwarded": "for=1.2.3.4"}) == JAMBONZ
    assert Proxies.parse("").client(PROXY, {"x-forwarded-for": "1.2.3.4"}) == PROXY
