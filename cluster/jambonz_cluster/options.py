"""Command line options made from the settings, so that each is described once."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from jambonz_shared.config import BadSettings, CommonSettings, GatewaySettings, WorkerSettings, load_settings
from jambonz_shared.environment import EXIT_BAD_SETTINGS, flag_of, unknown_variables, variable_of

EXIT_FAILED = 1
# As click's own for bad usage.
EXIT_USAGE = EXIT_BAD_SETTINGS

_Command = TypeVar("_Command", bound=Callable[..., Any])
_S = TypeVar("_S", bound=CommonSettings)


def setting_options(model: type[BaseModel], *names: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds one option per setting; an option that is not given is None.

    Values stay text here: ``load_settings`` checks them all together and lists every bad one.
    """

    def decorate(command: _Command) -> _Command:
        for name in reversed(names):
            field = model.model_fields[name]
            text = f"{field.description} [{variable_of(name)}]"
            command = click.option(flag_of(name), name, metavar="VALUE", default=None, help=text)(command)
        return command

    return decorate


def settings_or_exit(model: type[_S], flags: Mapping[str, object]) -> _S:
    """Return the settings; if any is bad, list all of them on standard error and exit with 2."""
    for variable in unknown_variables([GatewaySettings, WorkerSettings], os.environ):
        click.echo(f"warning: {variable} is no setting of jambonz-cluster; it is ignored", err=True)
    try:
        settings = load_settings(model, flags)
    except BadSettings as error:
        problems = [str(problem) for problem in error.problems]
    else:
        problems = redis_problems(settings, flags)
        if not problems:
            return settings
    for problem in problems:
        click.echo(f"bad setting {problem}", err=True)
    sys.exit(EXIT_USAGE)


def redis_problems(settings: CommonSettings, flags: Mapping[str, object]) -> list[str]:
    """Return what only redis-py can say of the URL of Redis, such as a port that is no number; empty if it will do."""
    from jambonz_shared.redis.connect import backend_of  # noqa: PLC0415 heavy, and --help should be quick

    try:
        backend_of(settings.redis_url)
    except ValueError as error:
        name = variable_of("redis_url") if flags.get("redis_url") is None else flag_of("redis_url")
        return [f"{name}: {error}"]
    return []
