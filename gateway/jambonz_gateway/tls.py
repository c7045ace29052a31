"""The gateway's own certificate, which may be replaced while it serves."""

import ssl
from pathlib import Path
from typing import Final

from jambonz_gateway.validity import Validity, validity_of

EXPIRES_SOON_S: Final = 7 * 86_400
"""Automatic renewal comes weeks before: a certificate that has less left than this was forgotten."""


class Certificate:
    """A TLS context whose certificate is that of the files at their last ``read``. TLS 1.2 at least.

    Attributes:
        context: For every connection of the process, from the first to the last.
        validity: When the certificate is good; nobody has looked whether that is now.
    """

    def __init__(self, certificate_file: str, key_file: str) -> None:
        """Read the files; the key may be in that of the certificate, then ``key_file`` is empty.

        Raises:
            OSError: If they cannot be used.
        """
        self._certificate_file: Final = certificate_file
        self._key_file: Final = key_file or certificate_file
        self._newest, self.validity = self._load()
        self.context, _ = self._load()
        # Called in every handshake, also if the client names no server: so a handshake sees certificate and key of one
        # moment. Loading new ones into a context that serves would show an old key with a new certificate between.
        self.context.sni_callback = self._use_newest

    def read(self) -> None:
        """Use what is in the files now for new connections; the others go on with what they have.

        Raises:
            OSError: If they cannot be used; the old certificate stays.
        """
        self._newest, self.validity = self._load()

    def _load(self) -> tuple[ssl.SSLContext, Validity]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            _must_hold(self._certificate_file, "CERTIFICATE")
            _must_hold(self._key_file, "PRIVATE KEY")
            context.load_cert_chain(self._certificate_file, self._key_file, password=_refuse)
            # After OpenSSL, which is the better judge.
            validity = validity_of(Path(self._certificate_file).read_text(encoding="ascii", errors="replace"))
        except (OSError, ValueError) as error:
            files = f"{self._certificate_file!r} and {self._key_file!r}"
            raise OSError(f"certificate and key in {files} cannot be used: {error}") from None
        return context, validity

    def _use_newest(self, connection: ssl.SSLObject, server_name: str | None, context: ssl.SSLContext) -> None:
        del server_name, context
        connection.context = self._newest


def _must_hold(file: str, what: str) -> None:
    """Ask before OpenSSL does, which says "PEM lib" of a file without the one or the other."""
    if f"{what}-----" not in Path(file).read_text(encoding="ascii", errors="replace"):
        raise ValueError(f"no {what} in {file!r}")


def _refuse() -> str:
    """Stand in for a person: OpenSSL would ask on the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted")
