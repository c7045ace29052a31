"""What `jambonz-cluster config` does: checks, shows and describes the settings, and makes hashes of secrets."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import click
from pydantic import BaseModel

from jambonz_cluster.options import EXIT_USAGE, redis_problems
from jambonz_cluster.output import json_text
from jambonz_shared.config import (
    BadSettings,
    GatewaySettings,
    ProcessSettings,
    SettingReference,
    WorkerSettings,
    load_settings,
    reference,
)
from jambonz_shared.credentials import ANY_APP, SALT_BYTES, Credential, SecretHash, credential_of
from jambonz_shared.environment import origins, text_of, unknown_variables
from jambonz_shared.redis.connect import backend_of

ROLES: Final[Mapping[str, type[ProcessSettings]]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
}
DEFAULT: Final = "default"
_HIDDEN: Final = "(secret)"
# 192 bits: nobody tries those out, so one cheap hash is enough (credentials.py).
_SECRET_BYTES: Final = 24

_INTRODUCTION: Final = """\
# Settings

Made by `jambonz-cluster config env --format markdown` from `shared/jambonz_shared/config.py`; a test holds it fresh.

A flag of the command line wins over the variable, the variable over the default. `jambonz-cluster gateway --help` and
`worker --help` list the flags. A variable marked *file* may also be given as `<VARIABLE>_FILE`: the name of a file that
holds the value. A duration or size without a unit is in seconds or bytes. `jambonz-cluster config check` lists all bad
settings; `config print` shows what counts, and where it comes from.
"""


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as a process would see it; ``origin`` is a variable, a flag, or ``default``."""

    name: str
    variable: str
    value: str
    origin: str


def check(role: str | None, flags: Mapping[str, str | None]) -> int:
    """Print every bad setting of the roles, once, and every variable nobody reads; return the exit code."""
    problems = list(dict.fromkeys(problem for name in _roles(role) for problem in _problems(name, flags)))
    for variable in unknown_variables(list(ROLES.values()), os.environ):
        click.echo(f"warning: {variable} is no setting of jambonz-cluster; it is ignored")
    for problem in problems:
        click.echo(f"bad setting {problem}")
    if not problems:
        click.echo("all settings can be used")
    return EXIT_USAGE if problems else 0


def show(role: str | None, flags: Mapping[str, str | None], *, as_json: bool) -> int:
    """Print the effective settings of the roles; with bad ones do as ``check``."""
    roles = _roles(role)
    if any(_problems(name, flags) for name in roles):
        return check(role, flags)
    found = {name: list(effective(ROLES[name], _flags_of(ROLES[name], flags), os.environ)) for name in roles}
    if as_json:
        click.echo(json_text({name: [asdict(row) for row in rows] for name, rows in found.items()}))
        return 0
    for name, rows in found.items():
        click.echo(f"# {name}")
        width = max(len(row.variable) + len(row.value) for row in rows) + 1
        for row in rows:
            click.echo(f"{f'{row.variable}={row.value}':<{width}}  # {row.origin}")
    return 0


def effective(
    model: type[ProcessSettings], flags: Mapping[str, str | None], environ: Mapping[str, str]
) -> Iterator[Effective]:
    """Yield every setting of a class as a process with these flags and this environment would see it.

    Raises:
        BadSettings: If any of them is bad.
    """
    settings = load_settings(model, flags, environ)
    named = origins(model, flags, environ)
    for row in reference(model):
        value = getattr(settings, row.name)
        yield Effective(row.name, row.variable, _shown(row, model, value), named.get(row.name, DEFAULT))


def credential_line(apps: str, user: str, *, is_generated: bool) -> int:
    """Print the line of a credential; the secret is asked for, or made and told on standard error."""
    if is_generated:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
    elif sys.stdin.isatty():
        secret = click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
    else:
        secret = sys.stdin.read().removesuffix("\n")
    if not secret:
        click.echo("expected a secret on standard input", err=True)
        return EXIT_USAGE
    salt = os.urandom(SALT_BYTES)
    kept = SecretHash.of(secret, salt, log2_n=0) if is_generated else SecretHash.of(secret, salt)
    line = str(Credential(frozenset(apps.split(",")), user, kept))
    try:
        credential_of(line)
    except ValueError as error:
        click.echo(f"cannot be used: {error}; apps are names with commas between them, or {ANY_APP}", err=True)
        return EXIT_USAGE
    if is_generated:
        click.echo(f"the secret, which is kept nowhere: {secret}", err=True)
    click.echo(line)
    return 0


# The reference, generated from the definition of the settings.


def markdown_text() -> str:
    """Return docs/reference/settings.md."""
    return "".join(_markdown_lines())


def environment_text() -> str:
    """Return an environment file with every setting as a comment that shows its default."""
    lines: list[str] = []
    for title, rows in _sections():
        lines.append(f"# ---- {title} ----\n\n")
        lines += [f"# {row.description} Expected: {row.type}.\n#{row.variable}={row.default}\n\n" for row in rows]
    return "".join(lines)


def _markdown_lines() -> Iterator[str]:
    yield _INTRODUCTION
    for title, rows in _sections():
        yield f"\n## {title}\n\n| variable | default | meaning | expected |\n|---|---|---|---|\n"
        for row in rows:
            mark = " *file*" if row.may_be_file else ""
            default = f"`{row.default}`" if row.default else "none"
            yield f"| `{row.variable}`{mark} | {default} | {row.description} | {row.type} |\n"


def _sections() -> list[tuple[str, list[SettingReference]]]:
    """Return the settings both roles have with the same meaning, then those of each."""
    gateway, worker = reference(GatewaySettings), reference(WorkerSettings)
    both = [row for row in gateway if row in worker]
    return [
        ("Gateway and worker", both),
        ("Gateway", [row for row in gateway if row not in both]),
        ("Worker", [row for row in worker if row not in both]),
    ]


# Inside.


def _roles(role: str | None) -> list[str]:
    return [role] if role else list(ROLES)


def _flags_of(model: type[BaseModel], flags: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: value for name, value in flags.items() if name in model.model_fields}


def _problems(role: str, flags: Mapping[str, str | None]) -> Sequence[str]:
    model = ROLES[role]
    try:
        settings = load_settings(model, _flags_of(model, flags))
    except BadSettings as error:
        return [str(problem) for problem in error.problems]
    return redis_problems(settings, flags)


def _shown(row: SettingReference, model: type[BaseModel], value: object) -> str:
    if value is None:
        return ""
    if row.name == "redis_url":
        # Where Redis is helps; how to log in there is nobody's business.
        return backend_of(str(value)).endpoint("").name
    return _HIDDEN if row.is_secret else text_of(model.model_fields[row.name], value)
