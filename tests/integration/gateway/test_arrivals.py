"""TLS of the gateway's own, and PROXY headers: what a socket passes before it is a Connection."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jambonz_gateway.server import tell_validity
from jambonz_gateway.tls import Certificate
from jambonz_gateway.validity import Validity
from jambonz_shared.config import BadSettings, GatewaySettings, load_settings
from tests.certificates import SelfSigned, make_certificate
from tests.conditions import LIMIT_S, until
from tests.integration.gateway.gateways import Caller, RunningGateway, caller, gateway
from tests.integration.gateway.test_credentials import line
from tests.integration.gateway.test_http import SUBPROTOCOL, UPGRADE, basic

JAMBONZ = "192.0.2.7"
STRANGER = "198.51.100.7"


@pytest.fixture
def certificate(tmp_path: Path) -> SelfSigned:
    return make_certificate(tmp_path)


def files(certificate: SelfSigned) -> dict[str, str]:
    return {"tls_certificate_file": str(certificate.certificate), "tls_key_file": str(certificate.key)}


def v2(address: str, command: int = 0x21) -> bytes:
    """Return a PROXY header as haproxy's send-proxy-v2 writes it."""
    addresses = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 5000, 3000)
    return b"\r\n\r\n\x00\r\nQUIT\n" + bytes([command, 0x11]) + struct.pack("!H", len(addresses)) + addresses


@contextlib.asynccontextmanager
async def tls_caller(running: RunningGateway, trusts: ssl.SSLContext, sid: str = "call-1") -> AsyncIterator[Caller]:
    async with caller(f"wss://127.0.0.1:{running.settings.port}/", sid, ssl=trusts) as jambonz:
        yield jambonz


async def through_proxy(running: RunningGateway, header: bytes, more: str = "") -> bytes:
    """Send a header and a handshake in one piece and return the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.settings.port)
    writer.write(header + UPGRADE.format(path="/", more=SUBPROTOCOL + more).replace("\n", "\r\n").encode())
    try:
        async with asyncio.timeout(LIMIT_S):
            return (await reader.readline()).strip()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_gateway_speaks_tls_with_its_own_certificate(redis_url: str, certificate: SelfSigned) -> None:
    """Without a balancer that ends it; a client that names no server (an IP address) gets the certificate, too."""
    async with gateway(redis_url, **files(certificate)) as running:
        async with tls_caller(running, certificate.client) as jambonz:
            assert jambonz.socket.subprotocol == "ws.jambonz.org"
        url = f"wss://localhost:{running.settings.port}/"
        async with caller(url, "call-1", ssl=certificate.client, host="127.0.0.1") as jambonz:
            assert jambonz.socket.transport.get_extra_info("ssl_object").version() in {"TLSv1.2", "TLSv1.3"}


async def test_old_tls_is_refused(redis_url: str, certificate: SelfSigned) -> None:
    """TLS 1.1 is broken; jambonz (Node 18 and newer) speaks 1.3."""
    old = certificate.client
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with gateway(redis_url, **files(certificate)) as running:
        async with tls_caller(running, old):
            pass
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with tls_caller(running, old):
                pass


async def test_new_certificate_serves_new_connections_and_old_ones_go_on(redis_url: str, tmp_path: Path) -> None:
    """It is renewed each few weeks; no call may notice. Half of a pair changes nothing but a counter."""
    old = make_certificate(tmp_path)
    trusts_old = old.client
    async with gateway(redis_url, **files(old)) as running, tls_caller(running, trusts_old) as jambonz:
        new = make_certificate(tmp_path, "new")
        trusts_new = new.client
        old.certificate.write_bytes(new.certificate.read_bytes())

        async def has_failed() -> bool:
            return await running.metric("jambonz_gateway_failed_reloads_total") >= 1

        await until(has_failed, "the certificate without its key was refused")
        async with tls_caller(running, trusts_old, "call-2"):
            pass
        old.key.write_bytes(new.key.read_bytes())

        async def is_new() -> bool:
            with contextlib.suppress(ssl.SSLError):
                async with tls_caller(running, trusts_new, "call-3"):
                    return True
            return False

        await until(is_new, "the new certificate serves")
        await (await jambonz.socket.ping())
        with pytest.raises(ssl.SSLError):
            async with tls_caller(running, trusts_old):
                pass


async def test_failed_tls_handshakes_take_no_room(redis_url: str, certificate: SelfSigned) -> None:
    """Scanners knock at every port: a gateway with room for three calls has it after ten failed ones."""
    async with gateway(redis_url, max_calls=3, **files(certificate)) as running:
        for _ in range(5):
            with contextlib.suppress(ConnectionError):
                assert await running.request("GET / HTTP/1.1\n\n") == b""
            with pytest.raises((ssl.SSLCertVerificationError, ConnectionError)):
                async with tls_caller(running, ssl.create_default_context()):
                    pass

        async def gets_in() -> bool:
            with contextlib.suppress(ConnectionError):
                async with tls_caller(running, certificate.client):
                    return True
            return False

        await until(gets_in, "a call finds the room that the failed ones have left")
        assert await running.metric("jambonz_gateway_failures_total") == 0


async def test_proxy_header_names_the_peer_that_is_limited(redis_url: str) -> None:
    """Behind a TCP balancer everybody has its address: the header tells them apart, logs and limits use it."""
    changes = {"behind_proxy": "proxy-protocol", "trusted_proxies": "127.0.0.1", "max_login_failures": 2}
    async with gateway(redis_url, credentials=line("default", "a", "right"), **changes) as running:

        async def comes(header: bytes, secret: str) -> bytes:
            authorization = basic(f"a:{secret}")["Authorization"]
            return (await through_proxy(running, header, f"Authorization: {authorization}\n"))[9:12]

        assert [await comes(v2(STRANGER), f"guess-{n}") for n in range(3)] == [b"401", b"401", b"429"]
        assert await comes(v2(JAMBONZ), "right") == b"101"
        assert await comes(b"PROXY TCP4 192.0.2.9 10.0.0.1 5000 3000\r\n", "right") == b"101"
        assert await comes(v2(STRANGER), "right") == b"429"
        assert await comes(v2(STRANGER, command=0x20), "right") == b"101", "the proxy's own check"


async def test_trusted_proxy_without_a_header_is_refused_and_others_come_directly(redis_url: str) -> None:
    """To guess whether there is one would let anybody name an address (proxy-protocol.txt, section 2)."""
    async with gateway(redis_url, behind_proxy="proxy-protocol", trusted_proxies="127.0.0.1") as running:
        assert await through_proxy(running, b"") == b""
        assert (await through_proxy(running, v2(JAMBONZ))).endswith(b"101 Switching Protocols")
    async with gateway(redis_url, behind_proxy="proxy-protocol", trusted_proxies="10.0.0.1") as running:
        assert (await through_proxy(running, b"")).endswith(b"101 Switching Protocols")
        assert b"101" not in await through_proxy(running, v2(JAMBONZ))
    async with gateway(redis_url) as running:
        assert b"101" not in await through_proxy(running, v2(JAMBONZ)), "off by default"


async def test_proxy_header_in_pieces_before_tls(redis_url: str, certificate: SelfSigned) -> None:
    """The balancer passes TLS on: the header comes first, in as many pieces as the network likes."""
    changes = {"behind_proxy": "proxy-protocol", "trusted_proxies": "127.0.0.0/8", **files(certificate)}
    async with gateway(redis_url, **changes) as running:
        loop = asyncio.get_running_loop()
        plain = socket.create_connection(("127.0.0.1", running.settings.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        for piece in (v2(JAMBONZ)[:5], v2(JAMBONZ)[5:14], v2(JAMBONZ)[14:20], v2(JAMBONZ)[20:]):
            await loop.sock_sendall(plain, piece)
            await asyncio.sleep(0)
        url = f"wss://127.0.0.1:{running.settings.port}/"
        async with caller(url, "call-1", sock=plain, ssl=certificate.client) as jambonz:
            assert jambonz.socket.subprotocol == "ws.jambonz.org"


def test_bad_tls_settings_are_listed(tmp_path: Path) -> None:
    """Start-up names them all."""
    environ = {
        "JAMBONZ_CLUSTER_TLS_KEY_FILE": str(tmp_path / "absent"),
        "JAMBONZ_CLUSTER_BEHIND_PROXY": "proxy-protocol",
    }
    with pytest.raises(BadSettings) as caught:
        load_settings(GatewaySettings, environ=environ)
    assert sorted(problem.name for problem in caught.value.problems) == [
        "JAMBONZ_CLUSTER_TLS_CERTIFICATE_FILE",
        "JAMBONZ_CLUSTER_TLS_KEY_FILE",
        "JAMBONZ_CLUSTER_TRUSTED_PROXIES",
    ]


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    """The log of a failed start says which files; an encrypted key is not asked for on a terminal."""
    (tmp_path / "nonsense").write_text("nonsense")
    with pytest.raises(OSError, match=r"nonsense.*cannot be used"):
        Certificate(str(tmp_path / "nonsense"), "")


@pytest.mark.parametrize(
    ("certificate", "key", "what"),
    [("a.pem", "", "no PRIVATE KEY in '.*a.pem'"), ("a.key", "a.key", "no CERTIFICATE in '.*a.key'")],
    ids=["no_key", "no_certificate"],
)
def test_file_that_lacks_the_one_or_the_other_is_told_so(tmp_path: Path, certificate: str, key: str, what: str) -> None:
    """OpenSSL says "PEM lib"."""
    make_certificate(tmp_path, "a")
    with pytest.raises(OSError, match=what):
        Certificate(str(tmp_path / certificate), str(tmp_path / key) if key else "")


async def test_certificate_that_is_not_good_is_told(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its peers end the connection behind a TLS handshake that has gone well: a gateway sees nothing of it."""
    async with gateway(redis_url, **files(make_certificate(tmp_path, days=3))) as running:
        assert "certificate expires soon" in caplog.text
        until_s = await running.metric("jambonz_gateway_certificate_good_until_seconds")
        assert 2 * 86_400 < until_s - time.time() <= 3 * 86_400
        make_certificate(tmp_path, days=90)

        async def is_renewed() -> bool:
            return await running.metric("jambonz_gateway_certificate_good_until_seconds") > until_s

        await until(is_renewed, "the renewed one is told")
    now_s = time.time()
    caplog.clear()
    tell_validity(Validity(now_s - 20, now_s - 10), now_s)
    tell_validity(Validity(now_s + 10, now_s + 20), now_s)
    told = [record.message for record in caplog.records]
    assert told == ["certificate has expired: jambonz refuses it", "certificate is not good yet: jambonz refuses it"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({}, "JAMBONZ_CLUSTER_BEHIND_PROXY is not proxy-protocol", id="not_expected"),
        pytest.param(
            {"behind_proxy": "proxy-protocol", "trusted_proxies": "10.0.0.1"},
            "its address is not in JAMBONZ_CLUSTER_TRUSTED_PROXIES",
            id="not_trusted",
        ),
    ],
)
@pytest.mark.parametrize("header", [v2(JAMBONZ), b"PROXY TCP4 192.0.2.9 10.0.0.1 5000 3000\r\n"], ids=["v2", "v1"])
async def test_proxy_that_the_gateway_does_not_expect_is_told(
    redis_url: str, caplog: pytest.LogCaptureFixture, changes: dict[str, str], why: str, header: bytes
) -> None:
    """Every call is lost, and nothing said so: no line, no metric. Strangers can do it, too, but not fill the log."""
    async with gateway(redis_url, **changes) as running:
        for _ in range(30):
            assert b"101" not in await through_proxy(running, header)
    told = [vars(it) for it in caplog.records if it.message == "unexpected PROXY header: connection refused"]
    assert [(it["address"], it["why"]) for it in told] == [("127.0.0.1", why)] * 10


async def test_peer_that_speaks_no_tls_is_told_now_and_then(
    redis_url: str, certificate: SelfSigned, caplog: pytest.LogCaptureFixture
) -> None:
    """A URL with ws:// in jambonz, or a proxy's header before the TLS: all calls are lost."""
    caplog.set_level("INFO")
    async with gateway(redis_url, **files(certificate)) as running:
        for _ in range(30):
            assert b"101" not in await through_proxy(running, b"")
    told = [vars(it) for it in caplog.records if it.message == "connection lost before the handshake"]
    assert len(told) == 10
    assert {it["address"] for it in told} == {"127.0.0.1"}
    assert {it["why"].partition("]")[0] for it in told} == {"[SSL: HTTP_REQUEST"}, "which jambonz's is"
