"""Every setting of the gateway and of the worker: name, type, default, unit and meaning, written once.

To add a setting, add a field. Its environment variable is ``JAMBONZ_CLUSTER_`` and its name in capitals, without
a trailing ``_s``, because the value carries the unit: ``JAMBONZ_CLUSTER_ACK_DEADLINE=4s``. Fields whose name ends
in ``_s`` hold seconds, in ``_bytes`` bytes. ``load_settings`` reads flags and environment; constructing a class
directly reads neither, which is what tests want.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from jambonz_shared.credentials import EXPECTED as CREDENTIALS_EXPECTED
from jambonz_shared.credentials import problem_in
from jambonz_shared.environment import (
    SECRET,
    BadSetting,
    BadSettings,
    Unit,
    expected_of,
    is_secret,
    load_settings,
    may_be_file,
    text_of,
    variable_of,
)
from jambonz_shared.kinds import ACK_DEADLINE_S
from jambonz_shared.units import parse_duration_s, parse_size_bytes

__all__ = [
    "BadSetting",
    "BadSettings",
    "CommonSettings",
    "GatewaySettings",
    "ProcessSettings",
    "SettingReference",
    "WorkerSettings",
    "load_settings",
    "reference",
]

Seconds = Annotated[float, Unit("duration"), BeforeValidator(parse_duration_s)]
ByteCount = Annotated[int, Unit("size"), BeforeValidator(parse_size_bytes)]
InternalPort = Annotated[
    int,
    Field(ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0 is off. Process i adds i."),
]


def _require_user_and_password(secret: SecretStr) -> SecretStr:
    user, _, password = secret.get_secret_value().partition(":")
    if not (user and password):
        raise ValueError("expected user:password")
    return secret


def _require_networks(text: str) -> str:
    for part in filter(None, map(str.strip, text.split(","))):
        ip_network(part, strict=False)
    return text


class CommonSettings(BaseModel):
    """What gateway and worker both need to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix|redis\+sentinel|rediss\+sentinel|redis\+cluster|rediss\+cluster)://",
        repr=False,
        description="The Redis that gateways and workers share; REDIS_URL is read too.",
        json_schema_extra=SECRET | {"expected": "a URL such as redis://host:6379/0 or rediss://:password@host"},
    )
    redis_linger_s: Seconds = Field(
        0.0,
        ge=0,
        le=0.02,
        description="Least time between two writes to Redis: 1ms or 2ms saves CPU at thousands of events per second, "
        "and costs as much latency there; 0 never waits.",
    )
    key_prefix: str = Field(
        "jc:",
        pattern=r"^[A-Za-z0-9_.:-]+$",
        description="Start of every key and channel in Redis; clusters that share a Redis need different ones.",
        json_schema_extra={"expected": "letters, digits and any of _ . : -"},
    )
    call_ttl_s: Seconds = Field(
        4 * 3600.0,
        ge=60,
        description="How long the keys of a call live without any event; renewed by each one.",
    )
    call_grace_s: Seconds = Field(
        60.0,
        ge=15,
        description="How long the keys of a call outlive its last connection, so that jambonz can reconnect.",
    )
    drain_delay_s: Seconds = Field(
        0.0,
        ge=0,
        description="Pause between turning unready and closing the door, for load balancers to notice.",
    )
    drain_timeout_s: Seconds = Field(
        30.0, ge=0, description="How long a process that has been told to end lets its calls go on."
    )
    heartbeat_s: Seconds = Field(0.5, ge=0.05, description="Time between signs of life in Redis.")
    lease_s: Seconds = Field(
        2.0, ge=0.2, description="Silence after which a process counts as dead, and others adopt its calls."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least serious log lines that are written."
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or one JSON object each.")

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that do not fit the others, with what was expected."""
        # One lost heartbeat, or one late by a Redis failover, must not look like a death.
        if self.lease_s < 2 * self.heartbeat_s:
            yield "lease_s", "at least twice JAMBONZ_CLUSTER_HEARTBEAT"


class ProcessSettings(CommonSettings):
    """What a gateway and a worker have in common as processes that serve."""

    host: str
    internal_port: InternalPort
    processes: int

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that do not fit the others, with what was expected."""
        yield from super().contradictions()
        if self.internal_port and self.internal_port + self.processes - 1 > 65535:
            yield "internal_port", f"a port that leaves room for {self.processes} processes below 65536"

    def internal_port_of(self, process_index: int) -> int:
        """Return the internal port of one of the processes, 0 if it is off."""
        return self.internal_port + process_index if self.internal_port else 0


class GatewaySettings(ProcessSettings):
    """Settings of a gateway process."""

    # Jambonz is on another host: a gateway that listened on loopback only would be of no use.
    host: str = Field("0.0.0.0", min_length=1, description="Address the websockets listen on.")  # noqa: S104
    port: int = Field(3000, ge=0, le=65535, description="Port of the websockets; 0 takes a free one.")
    internal_port: InternalPort = 8081
    processes: int = Field(1, ge=1, le=256, description="Processes that share the port, under one supervisor.")
    basic_auth: Annotated[SecretStr, AfterValidator(_require_user_and_password)] | None = Field(
        None,
        description="user:password that jambonz must send; nothing is asked for without it.",
        json_schema_extra=SECRET | {"expected": "user:password"},
    )
    credentials: SecretStr | None = Field(
        None,
        description="Who may open websockets of which app: lines of app:user:hash.",
        json_schema_extra=SECRET | {"expected": CREDENTIALS_EXPECTED},
    )
    credentials_file: str = Field(
        "", description="A file of more such lines, read again when it changes and at SIGHUP; open websockets stay."
    )
    max_login_failures: int = Field(
        10, ge=1, description="Wrong credentials per minute, of one source address for one user, before they get 429."
    )
    behind_proxy: Literal["no", "proxy-protocol", "x-forwarded-for", "forwarded", "headers"] = Field(
        "no",
        description="How trusted proxies in front tell the address of their client: PROXY protocol 1 or 2, or one "
        "header, which they must write and not pass on from a client; headers is X-Forwarded-For.",
    )
    trusted_proxies: Annotated[str, AfterValidator(_require_networks)] = Field(
        "",
        description="Addresses and networks of the proxies whose word counts, with commas between them.",
        json_schema_extra={"expected": "addresses or networks such as 10.0.0.7 or 10.1.0.0/16, with commas"},
    )
    tls_certificate_file: str = Field(
        "",
        description="Certificate chain (PEM) of wss://, read again when it changes and at SIGHUP; none is ws://.",
        json_schema_extra={"expected": "a file that can be read"},
    )
    tls_key_file: str = Field(
        "",
        description="Its key, if that is in another file.",
        json_schema_extra={"expected": "a file that can be read"},
    )
    ping_interval_s: Seconds = Field(25.0, ge=1, le=300, description="Time between pings; two lost ones end a socket.")
    ack_deadline_s: Seconds = Field(
        ACK_DEADLINE_S,
        ge=0.1,
        le=4.9,
        description="Age at which the gateway acks a hook by itself; jambonz gives up at 5s.",
    )
    max_event_bytes: ByteCount = Field(
        1024**2, ge=4096, le=16 * 1024**2, description="Largest message that is taken from jambonz."
    )
    max_calls: int = Field(
        10_000,
        ge=1,
        description="Connections at which the process stops accepting more; of calls that are over, and that a Redis "
        "that is away has not heard of, as many are kept, the newest.",
    )
    max_call_event_rate: int = Field(
        2000,
        ge=10,
        description="Messages per second of one call, one of several KiB as many as it has KiB; a burst of ten "
        "seconds' worth is taken at once.",
    )
    max_account_event_rate: int = Field(
        10_000,
        ge=10,
        description="The same of all calls of one account in a process, while other accounts have calls there.",
    )
    max_held_call_bytes: ByteCount = Field(
        1024**2,
        ge=65536,
        description="Events held for one websocket while they cannot be published, and as much of hooks without an "
        "answer; beyond it the oldest Notices are dropped, and the oldest hooks answered by the fallback.",
    )
    max_held_bytes: ByteCount = Field(
        64 * 1024**2,
        ge=1024**2,
        description="The same of all websockets of the process; beyond it each keeps its share of a process that is "
        "full of calls.",
    )
    move_rate: int = Field(
        50, ge=1, le=10_000, description="Calls per second that a draining gateway moves to another one."
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that do not fit the others, with what was expected."""
        if self.max_held_call_bytes > self.max_held_bytes:
            yield "max_held_call_bytes", "no more than JAMBONZ_CLUSTER_MAX_HELD_BYTES"
        if self.max_event_bytes > self.max_held_call_bytes:
            yield "max_event_bytes", "no more than JAMBONZ_CLUSTER_MAX_HELD_CALL_BYTES"
        if self.behind_proxy != "no" and not self.trusted_proxies.strip():
            yield "trusted_proxies", f"an address or network, since JAMBONZ_CLUSTER_BEHIND_PROXY is {self.behind_proxy}"
        for name in ("tls_certificate_file", "tls_key_file"):
            if (path := getattr(self, name)) and not os.access(path, os.R_OK):
                yield name, "a file that can be read"
        if self.tls_key_file and not self.tls_certificate_file:
            yield "tls_certificate_file", "the certificate that belongs to JAMBONZ_CLUSTER_TLS_KEY_FILE"
        if problem := problem_in(self.credentials.get_secret_value() if self.credentials else ""):
            yield "credentials", f"{CREDENTIALS_EXPECTED} ({problem})"
        if problem := _problem_in_file(self.credentials_file):
            yield "credentials_file", f"a file with {CREDENTIALS_EXPECTED} ({problem})"
        yield from super().contradictions()


class WorkerSettings(ProcessSettings):
    """Settings of a worker process."""

    # Probes and scrapers are on other hosts, too.
    host: str = Field("0.0.0.0", min_length=1, description="Address /healthz, /readyz and /metrics listen on.")  # noqa: S104
    internal_port: InternalPort = 8082
    processes: int = Field(1, ge=1, le=256, description="Worker processes under one supervisor.")
    max_calls: int = Field(1000, ge=1, description="Calls at which the process stops pulling new ones (its credits).")
    handler_threads: int = Field(
        32,
        ge=1,
        le=1000,
        description="Threads for handlers and tools that are not async; what finds none waits.",
    )
    handler_block_s: Seconds = Field(
        0.2,
        ge=0,
        description="Time for which an async handler may hold up the event loop before a warning names it; 0 is off.",
    )
    # What waits here is in Redis, too, and Compose gives that 256 MB: a worker that is flooded must not fill it. At
    # least two of the largest events that a gateway takes, so that one alone is never too much.
    max_waiting_bytes: ByteCount = Field(
        64 * 1024**2,
        ge=32 * 1024**2,
        description="Events that wait in the process for the handlers of their own calls, each counted with 900 bytes "
        "besides its body; beyond it the call that holds the most loses its oldest ones. They are in Redis, too, whose "
        "memory has to hold this of all workers.",
    )
    validate_verbs: Literal["off", "on"] = Field(
        "off",
        description="Check verbs against jambonz's JSON Schemas before they are sent (extra sdk); on in `dev`.",
    )


@dataclass(frozen=True, slots=True)
class SettingReference:
    """One row of the reference of settings; ``default`` is spelled as a person would.

    Attributes:
        may_be_file: ``<VARIABLE>_FILE`` may name a file that holds the value.
    """

    name: str
    variable: str
    type: str
    default: str
    description: str
    is_secret: bool
    may_be_file: bool


def reference(model: type[BaseModel]) -> list[SettingReference]:
    """Return the settings of a class in the order of their definition, for the documentation."""
    return [
        SettingReference(
            name=name,
            variable=variable_of(name),
            type=expected_of(field),
            default=_default_text(field),
            description=field.description or "",
            is_secret=is_secret(field),
            may_be_file=may_be_file(model, name),
        )
        for name, field in model.model_fields.items()
    ]


def _default_text(field: FieldInfo) -> str:
    assert field.default is not PydanticUndefined, "every setting has a default"
    return "" if field.default is None else text_of(field, field.default)


def _problem_in_file(path: str) -> str:
    try:
        return problem_in(Path(path).read_text(encoding="utf-8")) if path else ""
    except (OSError, UnicodeDecodeError):
        return "it cannot be read"
