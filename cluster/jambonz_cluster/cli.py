"""The command ``jambonz-cluster``. Exit codes: 0 well, 1 failed, 2 wrong usage or settings."""

import json
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jambonz_cluster.options import EXIT_FAILED, EXIT_USAGE, setting_options, settings_or_exit
from jambonz_shared.build import build_text
from jambonz_shared.config import CommonSettings, GatewaySettings, WorkerSettings

if TYPE_CHECKING:
    from jambonz_workers import App

# Heavy imports (uvloop, aiohttp, redis, the user's application) happen inside the commands that need them, so that
# --help and a usage error are quick.


_Command = TypeVar("_Command", bound=Callable[..., Any])


_json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
_redis_options = setting_options(CommonSettings, "redis_url", "key_prefix")


def _answer_options(command: _Command) -> _Command:
    """Add the options of every command that asks Redis and shows the answer."""
    return _json_option(_redis_options(command))


def _json(text: str) -> Any:
    """Read an argument as JSON; click makes a usage error of what it raises."""
    return json.loads(text)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(build_text(), message="%(prog)s %(version)s")
def main() -> None:
    """Scalable gateway for jambonz call control: gateways, workers, and tools around them.

    Settings come from flags, else from JAMBONZ_CLUSTER_* variables, else from defaults.
    """


@main.command()
@setting_options(GatewaySettings, "host", "port", "internal_port", "processes", "redis_url", "log_level", "log_format")
@click.option("--process-index", type=int, default=None, hidden=True)
def gateway(process_index: int | None, **flags: str | None) -> None:
    """Run a gateway: it ends jambonz websockets and publishes their events to Redis."""
    settings = settings_or_exit(GatewaySettings, flags)
    from jambonz_cluster.processes import run_processes

    def serving(index: int) -> Coroutine[Any, Any, None]:
        # A supervisor of several processes serves nothing, and is not to wait for what it does not need.
        from jambonz_gateway.server import serve

        return serve(settings, process_index=index)

    sys.exit(run_processes(settings, serving, process_index, sys.argv[1:]))


@main.command()
@click.argument("application", metavar="MODULE:APP")
@setting_options(WorkerSettings, "internal_port", "processes", "redis_url", "log_level", "log_format")
@click.option("--process-index", type=int, default=None, hidden=True)
def worker(application: str, process_index: int | None, **flags: str | None) -> None:
    """Run a worker: it runs the application MODULE:APP for calls of any gateway."""
    settings = settings_or_exit(WorkerSettings, flags)
    app = _application_or_exit(application)
    if process_index is None:
        from jambonz_cluster.application import doubts_about

        for doubt in doubts_about(app):
            click.echo(f"warning: {doubt}", err=True)
    if app.validates(default=settings.validate_verbs == "on"):
        _load_schemas_or_exit(app)
    from jambonz_cluster.processes import run_processes

    def serving(index: int) -> Coroutine[Any, Any, None]:
        from jambonz_workers.worker import serve

        return serve(app, settings, process_index=index)

    sys.exit(run_processes(settings, serving, process_index, sys.argv[1:]))


@main.command()
@click.argument("application", metavar="MODULE:APP")
@setting_options(GatewaySettings, "host", "port", "redis_url")
@click.option("--reload/--no-reload", "is_reloading", default=True, help="Restart the worker when a file changes.")
def dev(application: str, is_reloading: bool, **flags: str | None) -> None:
    """Run everything on this machine: Redis, a gateway and a worker for the application MODULE:APP."""
    settings = settings_or_exit(GatewaySettings, flags)
    # A laptop in a café should not offer its calls to the whole room; --host asks for that.
    if "host" not in settings.model_fields_set:
        settings = settings.model_copy(update={"host": "127.0.0.1"})
    from jambonz_cluster.dev import Dev
    from jambonz_shared.runtime.loop import run_in_loop

    sys.exit(run_in_loop(Dev(application, settings, is_reloading=is_reloading).run()))


@main.command()
def demo() -> None:
    """Run the example examples.ivr:app of the repository, play a caller, show the conversation, and end.

    To be started in the repository's folder.
    """
    from jambonz_cluster.demo import run_demo

    sys.exit(run_demo())


@main.command()
@click.argument("url")
@click.option("--script", default="hello", show_default=True, help="Name of a built-in script, or a JSON file.")
@click.option(
    "--press", multiple=True, metavar="DIGITS", help="What the caller presses, at each menu; may be repeated."
)
@click.option("--calls", type=click.IntRange(min=1), default=1, show_default=True, help="How many calls to play.")
@click.option("--rate", type=click.FloatRange(min=0.001), default=10.0, show_default=True, help="New calls per second.")
@click.option("--concurrency", type=click.IntRange(min=1), default=None, help="Calls at the same time, at most.")
@click.option("--speed", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="Times real time.")
@_json_option
def simulate(url: str, **options: Any) -> None:
    """Play calls against URL as jambonz would, and tell what was said.

    Exits with 1 if a call failed or a hook was not answered in time.
    """
    from jambonz_simulator.cli import run_simulate

    sys.exit(run_simulate(url, **options))


@main.group()
def calls() -> None:
    """List, show and control live calls of all workers and gateways."""


@calls.command("list")
@click.option("--app", default=None, help="Only calls of this app.")
@_answer_options
def list_calls(app: str | None, *, as_json: bool, **flags: str | None) -> None:
    """List live calls."""
    from jambonz_cluster import calls

    sys.exit(calls.list_calls(settings_or_exit(CommonSettings, flags), app, as_json=as_json))


@calls.command("show")
@click.argument("call_sid")
@_answer_options
def show_call(call_sid: str, *, as_json: bool, **flags: str | None) -> None:
    """Show what is known of a live call: facts, state, owner."""
    from jambonz_cluster import calls

    sys.exit(calls.show_call(settings_or_exit(CommonSettings, flags), call_sid, as_json=as_json))


@calls.command("command")
@click.argument("call_sid")
@click.argument("name")
@click.argument("data", metavar="[JSON]", required=False, type=_json)
@_answer_options
def command_call(call_sid: str, name: str, data: Any, *, as_json: bool, **flags: str | None) -> None:
    """Send the command NAME with JSON as its data to a live call, and tell what became of it."""
    from jambonz_cluster import calls

    settings = settings_or_exit(CommonSettings, flags)
    sys.exit(calls.command_call(settings, call_sid, lambda call: call.command(name, data), as_json=as_json))


@calls.command("hangup")
@click.argument("call_sid")
@_answer_options
def hangup_call(call_sid: str, *, as_json: bool, **flags: str | None) -> None:
    """Hang up a live call."""
    from jambonz_cluster import calls

    settings = settings_or_exit(CommonSettings, flags)
    sys.exit(calls.command_call(settings, call_sid, lambda call: call.hangup(), as_json=as_json))


@main.command()
@click.argument("app")
@_redis_options
def forget(app: str, **flags: str | None) -> None:
    """Forget APP, whose workers were taken out of service for good: its paths get 404 from then on."""
    from jambonz_cluster.forgetting import forget_app

    sys.exit(forget_app(settings_or_exit(CommonSettings, flags), app))


@main.group()
def quarantine() -> None:
    """Look after events whose handler killed three workers."""


@quarantine.command("list")
@_answer_options
def list_quarantine(*, as_json: bool, **flags: str | None) -> None:
    """List the events in quarantine."""
    from jambonz_cluster.quarantine import list_events

    sys.exit(list_events(settings_or_exit(CommonSettings, flags), as_json=as_json))


@quarantine.command("replay")
@click.argument("event_id")
@_redis_options
def replay_quarantine(event_id: str, **flags: str | None) -> None:
    """Give EVENT_ID to the workers again; verbs they return go out as a redirect."""
    from jambonz_cluster.quarantine import replay_event

    sys.exit(replay_event(settings_or_exit(CommonSettings, flags), event_id))


@quarantine.command("drop")
@click.argument("event_id")
@_redis_options
def drop_quarantine(event_id: str, **flags: str | None) -> None:
    """Delete EVENT_ID."""
    from jambonz_cluster.quarantine import drop_event

    sys.exit(drop_event(settings_or_exit(CommonSettings, flags), event_id))


@main.group()
def config() -> None:
    """Look at the settings, and make hashes of secrets for them."""


_role_option = click.option(
    "--role", type=click.Choice(["gateway", "worker"]), default=None, help="Only what this process would read."
)
# Names of settings that both kinds of process have are the same; a flag counts for whoever has it.
_every_setting = setting_options(GatewaySettings, *GatewaySettings.model_fields)


@config.command("check")
@_role_option
@_every_setting
def check_config(role: str | None, **flags: str | None) -> None:
    """List every bad setting, and variables nobody reads; exit with 2 if there is a bad one."""
    from jambonz_cluster.configuration import check

    sys.exit(check(role, flags))


@config.command("print")
@_role_option
@_json_option
@_every_setting
def print_config(role: str | None, *, as_json: bool, **flags: str | None) -> None:
    """Show the value of every setting and where it comes from; secrets are left out."""
    from jambonz_cluster.configuration import show

    sys.exit(show(role, flags, as_json=as_json))


@config.command("env")
@click.option(
    "--format", "style", type=click.Choice(["env", "markdown"]), default="env", show_default=True, help="What for."
)
def describe_config(style: str) -> None:
    """Write the reference of all settings: an environment file to fill in, or a page of documentation."""
    from jambonz_cluster.configuration import environment_text, markdown_text

    click.echo(environment_text() if style == "env" else markdown_text(), nl=False)


@config.command("hash-secret")
@click.argument("apps", metavar="APP[,APP...]")
@click.argument("user")
@click.option("--generate", is_flag=True, help="Make a secret, and tell it on standard error.")
def hash_secret(apps: str, user: str, *, generate: bool) -> None:
    """Write the line for JAMBONZ_CLUSTER_CREDENTIALS that lets USER open websockets of these apps; * is all of them.

    The secret is asked for, or read from standard input.
    """
    from jambonz_cluster.configuration import credential_line

    sys.exit(credential_line(apps, user, is_generated=generate))


@main.command()
@click.option("--serve", "port", type=click.IntRange(0, 65535), default=None, help="Serve a page and JSON on PORT.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the page is served on.")
@_answer_options
def status(port: int | None, host: str, *, as_json: bool, **flags: str | None) -> None:
    """Tell which gateways and workers live, their calls, and what waits for them.

    Exits with 1 if no call could be taken. With --serve it goes on until it is told to end.
    """
    settings = settings_or_exit(CommonSettings, flags)
    if port is None:
        from jambonz_cluster.status import show_status

        sys.exit(show_status(settings, as_json=as_json))
    from jambonz_cluster.status_page import run_page

    sys.exit(run_page(settings, host, port))


@main.command()
@click.argument("application", metavar="[MODULE:APP]", required=False)
@click.option("--url", default="", help="Play the test call against this URL, as it stands in jambonz.")
@click.option("--call/--no-call", "plays_call", default=True, help="Play a test call; it runs the first handler.")
@_json_option
@setting_options(GatewaySettings, "host", "port", "internal_port", "redis_url", "key_prefix")
def doctor(application: str | None, url: str, *, plays_call: bool, as_json: bool, **flags: str | None) -> None:
    """Look for what is wrong with a cluster, and tell the cure: this machine, Redis, gateways, workers, a call.

    Exits with 1 if something has to be mended, with 2 if settings are bad.
    """
    settings = settings_or_exit(GatewaySettings, flags)
    app = _application_or_exit(application) if application else None
    from jambonz_cluster.doctor.examination import Case, run_doctor
    from jambonz_simulator.core.urls import target_of

    try:
        target_of(url or "ws://default")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    sys.exit(run_doctor(Case(settings, app, url, plays_call), as_json=as_json))


def _application_or_exit(target: str) -> Any:
    from jambonz_cluster.application import BadApplication, load_application, traceback_text
    from jambonz_workers import App

    try:
        app = load_application(target)
    except BadApplication as error:
        click.echo(f"bad application: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except Exception as error:  # noqa: BLE001  the edge to foreign code: its author needs whatever it raised
        click.echo(f"{traceback_text(error)}{target!r} raised this while it was imported", err=True)
        sys.exit(EXIT_FAILED)
    if not isinstance(app, App):
        click.echo(
            f"bad application: expected {target!r} to be a jambonz_workers.App, got {type(app).__name__}", err=True
        )
        sys.exit(EXIT_USAGE)
    return app


def _load_schemas_or_exit(app: "App") -> None:
    from jambonz_workers.verb_schemas import InvalidVerbs, load_schemas

    try:
        load_schemas()
        app.validate_fallbacks()
    except ImportError as error:
        # Otherwise every call would be declined.
        click.echo(f"verbs cannot be validated: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except InvalidVerbs as error:
        click.echo(f"bad application: a fallback is none that jambonz takes: {error}", err=True)
        sys.exit(EXIT_USAGE)
