"""When a certificate is good, read from its bytes."""

import base64
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jambonz_gateway.validity import validity_of
from tests.certificates import make_certificate


def test_validity_is_that_which_openssl_tells(tmp_path: Path) -> None:
    """The first certificate of a chain is the server's own."""
    first, second = make_certificate(tmp_path, "first", days=10), make_certificate(tmp_path, "second", days=20)
    chain = "of the server:\n" + first.certificate.read_text() + second.certificate.read_text()
    command = ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", str(first.certificate)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]
    found = validity_of(chain)
    assert datetime.fromtimestamp(found.until_s, UTC) == datetime.fromisoformat(told)
    assert found.until_s - found.from_s == 10 * 86_400
    assert found.from_s <= time.time()


def element(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def certificate(*times: tuple[int, bytes], version: bytes = b"") -> str:
    """Return as much of a certificate as stands before its end, in PEM."""
    validity = b"".join(element(tag, text) for tag, text in times)
    fields = (element(2, b"\x01"), element(0x30, b""), element(0x30, b""), element(0x30, validity))
    der = element(0x30, element(0x30, version + b"".join(fields)))
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("version", [b"", element(0xA0, element(2, b"\x02"))], ids=["version_1", "version_3"])
def test_years_have_two_digits_until_2049_and_four_later(version: bytes) -> None:
    """RFC 5280, 4.1.2.5: private authorities issue for decades."""
    of_two_digits = validity_of(certificate((0x17, b"500101000000Z"), (0x17, b"491231235959Z"), version=version))
    assert [datetime.fromtimestamp(it, UTC).year for it in of_two_digits] == [1950, 2049]
    later = validity_of(certificate((0x17, b"260101000000Z"), (0x18, b"20860101000000Z"), version=version))
    assert [datetime.fromtimestamp(it, UTC).year for it in later] == [2026, 2086]


@pytest.mark.parametrize(
    "pem",
    [
        "",
        certificate((0x17, b"260101"), (0x17, b"270101")),
        certificate(),
        certificate(version=element(2, b"\x01") * 3),
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
    ],
    ids=["nothing", "no_times", "no_validity", "something_in_its_place", "something_else", "empty", "no_base64"],
)
def test_what_is_no_certificate_is_refused(pem: str) -> None:
    """As a value, and not as an accident of the reader."""
    with pytest.raises(ValueError, match=r".+"):
        validity_of(pem)
