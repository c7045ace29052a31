"""Certificates for tests, made by the openssl of the machine."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A certificate for 127.0.0.1 and localhost that signs itself, and its key."""

    certificate: Path
    key: Path

    @property
    def client(self) -> ssl.SSLContext:
        """What a client needs that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=self.certificate)


def make_certificate(folder: Path, name: str = "gateway", *, days: int = 30) -> SelfSigned:
    """Write ``name.pem`` and ``name.key``, good for so many days, over others of this name if there are any."""
    made = SelfSigned(folder / f"{name}.pem", folder / f"{name}.key")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj /CN=test"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    subprocess.run(
        [
            *command.split(),
            "-days",
            str(days),
            "-addext",
            names,
            "-keyout",
            str(made.key),
            "-out",
            str(made.certificate),
        ],
        check=True,
        capture_output=True,
    )
    return made
