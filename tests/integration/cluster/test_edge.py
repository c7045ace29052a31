"""TLS and PROXY headers at real gateway processes, which run another event loop than the tests."""

import asyncio
import contextlib
import socket
from pathlib import Path

from jambonz_shared.credentials import Credential, SecretHash
from tests.certificates import make_certificate
from tests.cluster_fixture import ClusterFactory
from tests.integration.gateway.gateways import caller
from tests.integration.gateway.test_arrivals import JAMBONZ, v2
from tests.integration.gateway.test_http import basic


async def test_call_comes_through_proxy_header_and_tls_to_a_real_gateway(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    """All that the edge can do at once: header, TLS, a slow hash; and the process ends in peace afterwards."""
    made = make_certificate(tmp_path)
    secret = Credential(frozenset({"default"}), "acme", SecretHash.of("chosen", bytes(16), log2_n=12))
    settings = {
        "TLS_CERTIFICATE_FILE": str(made.certificate),
        "TLS_KEY_FILE": str(made.key),
        "BEHIND_PROXY": "proxy-protocol",
        "TRUSTED_PROXIES": "127.0.0.1",
        "CREDENTIALS": str(secret),
    }
    running = await cluster(
        "examples.hello:app", settings={f"JAMBONZ_CLUSTER_{name}": value for name, value in settings.items()}
    )
    gateway = running.gateways[0]
    for scanner in (b"GET / HTTP/1.1\r\n\r\n", v2(JAMBONZ) + b"GET / HTTP/1.1\r\n\r\n", b"", b"\r\n\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(scanner)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    plain = socket.create_connection(("127.0.0.1", gateway.port))
    plain.sendall(v2(JAMBONZ))
    url = f"wss://127.0.0.1:{gateway.port}/hello"
    headers = basic("acme:chosen")
    async with caller(url, "call-1", sock=plain, ssl=made.client, additional_headers=headers) as jambonz:
        assert jambonz.socket.subprotocol == "ws.jambonz.org"
    gateway.terminate()
    assert await gateway.wait_ended() == 0
    assert "Traceback" not in gateway.log_text
