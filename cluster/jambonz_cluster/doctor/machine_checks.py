"""Whether this machine lets a gateway run: file descriptors, the kernel's queue, free ports."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jambonz_cluster.doctor.findings import Finding, fail, ok, warn
from jambonz_gateway.tls import EXPIRES_SOON_S, Certificate
from jambonz_shared.config import GatewaySettings

# Beside its calls a gateway has its links to Redis, its log, its scrapers.
_OTHER_FILES: Final = 100
# A storm of reconnects fills the queue of the kernel before the loop turns (door.py asks for 4096).
_QUEUE: Final = 1024
_RENEW: Final = "renew it: gateways take the new file within a second"
_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")


def machine_findings(settings: GatewaySettings, *, is_gateway_here: bool) -> Iterator[Finding]:
    """Yield what speaks for and against this machine; ports are looked at unless a gateway has them already."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield files_finding(soft, settings.max_calls)
    if _SOMAXCONN.exists():
        yield queue_finding(int(_SOMAXCONN.read_text()))
    if settings.tls_certificate_file:
        yield certificate_finding(settings.tls_certificate_file, settings.tls_key_file, time.time())
    if not is_gateway_here:
        yield from port_findings(settings)


def files_finding(limit: int, max_calls: int) -> Finding:
    """Judge how many files a process may open."""
    needed = max_calls + _OTHER_FILES
    text = f"a process may open {limit} files, {max_calls} calls need {needed}"
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ok("open files", text)
    cure = f"raise it (ulimit -n {needed}, LimitNOFILE, ulimits), or lower JAMBONZ_CLUSTER_MAX_CALLS"
    return warn("open files", text, cure)


def queue_finding(somaxconn: int) -> Finding:
    """Judge how many connections may wait to be accepted."""
    text = f"{somaxconn} connections may wait to be accepted"
    if somaxconn >= _QUEUE:
        return ok("accept queue", text)
    return warn("accept queue", text, "sysctl net.core.somaxconn=4096: all calls of a gateway that died come at once")


def certificate_finding(certificate_file: str, key_file: str, now_s: float) -> Finding:
    """Judge whether the gateway could use its certificate, and whether jambonz takes it at ``now_s`` (Unix)."""
    try:
        validity = Certificate(certificate_file, key_file).validity
    except OSError as error:
        return fail("certificate", str(error), "give the chain and the key that belongs to it, both PEM, not encrypted")
    days = (validity.until_s - now_s) / 86_400
    if days < 0:
        return fail("certificate", f"{certificate_file} expired {-days:.0f} days ago: jambonz refuses it", _RENEW)
    if now_s < validity.from_s:
        return fail("certificate", f"{certificate_file} is not good yet: jambonz refuses it", f"{_RENEW}, or the clock")
    if now_s > validity.until_s - EXPIRES_SOON_S:
        return warn("certificate", f"{certificate_file} expires in {days:.0f} days", _RENEW)
    return ok("certificate", f"{certificate_file} and its key fit, for {days:.0f} days")


def port_findings(settings: GatewaySettings) -> Iterator[Finding]:
    """Yield whether the ports of a gateway are free."""
    for name, port in (("port", settings.port), ("internal port", settings.internal_port)):
        if port:
            yield _port_finding(settings.host, name, port)


def _port_finding(host: str, name: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        cure = f"end what listens there (ss -ltnp), or set another {name}"
        return fail("ports", f"{name} {port} of {host} cannot be had: {os.strerror(error.errno or 0)}", cure)
    return ok("ports", f"{name} {port} is free")
