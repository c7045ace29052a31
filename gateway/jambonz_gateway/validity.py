"""From when until when a certificate is good. Pure.

Python's ``ssl`` tells it of a peer's certificate only; of one's own it takes a look into the bytes (RFC 5280, 4.1).
"""

import base64
import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

# What OpenSSL takes for one; a "trusted" one has more behind it.
_PEM: Final = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([^-]+)-----END ")

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
# Two digits of the year until 2049, of 1950 and later (RFC 5280, 4.1.2.5.1); else four.
_UTC_TIME: Final = 0x17
_CENTURY_TURNS_AT: Final = "50"


class Validity(NamedTuple):
    """Unix seconds; the last one is still good."""

    from_s: float
    until_s: float


def validity_of(pem: str) -> Validity:
    """Return when the first certificate of a PEM file is good: in a chain the server's own.

    Raises:
        ValueError: If there is none, or one that cannot be read.
    """
    match = _PEM.search(pem)
    if match is None:
        raise ValueError("expected a certificate in PEM")
    try:
        _, certificate, _ = _element(base64.b64decode(match[1]))
        _, signed, _ = _element(certificate)
        tag, _, rest = _element(signed)
        # The serial number, which the version stands before; then the algorithm and the issuer.
        for _ in range(3 if tag == _VERSION else 2):
            _, _, rest = _element(rest)
        tag, validity, _ = _element(rest)
        if tag != _SEQUENCE:
            raise ValueError("expected the validity of a certificate")
        from_tag, from_text, rest = _element(validity)
        until_tag, until_text, _ = _element(rest)
        return Validity(_seconds(from_tag, from_text), _seconds(until_tag, until_text))
    except IndexError:
        raise ValueError("expected a certificate, it is cut off") from None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first element of DER, and what follows it."""
    length, begin = data[1], 2
    if length >= 0x80:
        begin += length - 0x80
        length = int.from_bytes(data[2:begin])
    return data[0], data[begin : begin + length], data[begin + length :]


def _seconds(tag: int, text: bytes) -> float:
    digits = text.decode("ascii", errors="replace")
    if tag == _UTC_TIME:
        digits = ("20" if digits[:2] < _CENTURY_TURNS_AT else "19") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
