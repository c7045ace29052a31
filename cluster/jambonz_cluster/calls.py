"""What `jambonz-cluster calls` does: lists, shows and controls live calls from outside."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from jambonz_cluster.connected import CONNECT_LIMIT_S, no_answer, run_command
from jambonz_cluster.options import EXIT_FAILED, EXIT_USAGE
from jambonz_cluster.output import failed, json_text
from jambonz_shared.config import CommonSettings
from jambonz_shared.errors import ClusterError, MessageTooBig
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.telemetry.logging import field_text
from jambonz_workers import Calls, RemoteCall

_T = TypeVar("_T")

COLUMNS = ("call_sid", "app", "path", "status", "owner")


def list_calls(settings: CommonSettings, app: str | None, *, as_json: bool) -> int:
    """Print all live calls, or those of one app; return the exit code."""

    async def ask(calls: Calls) -> Sequence[RemoteCall]:
        return await calls.list(app)

    def show(remotes: Sequence[RemoteCall]) -> int:
        rows = sorted((row_of(remote) for remote in remotes), key=lambda row: row["call_sid"])
        click.echo(json_text(rows) if as_json else table_text(rows))
        return 0

    return _with_calls(settings, ask, show)


def show_call(settings: CommonSettings, call_sid: str, *, as_json: bool) -> int:
    """Print all that is known of a live call; return the exit code."""

    async def ask(calls: Calls) -> dict[str, Any]:
        remote = await calls.get(call_sid)
        return {**row_of(remote), "facts": dict(remote.facts), "state": await remote.state()}

    def show(known: dict[str, Any]) -> int:
        lines = (
            f"{name:<9} {_shown(value) if isinstance(value, str) else json_text(value)}"
            for name, value in known.items()
        )
        click.echo(json_text(known) if as_json else "\n".join(lines))
        return 0

    return _with_calls(settings, ask, show)


def command_call(
    settings: CommonSettings, call_sid: str, act: Callable[[RemoteCall], Awaitable[Outcome]], *, as_json: bool
) -> int:
    """Send a command to a live call and print its Outcome; return 0 if it was sent or is queued."""

    async def ask(calls: Calls) -> Outcome:
        return await act(await calls.get(call_sid))

    def show(outcome: Outcome) -> int:
        if as_json:
            click.echo(json_text({"call_sid": call_sid, "outcome": outcome.kind.value, "reason": outcome.reason}))
        else:
            click.echo(f"{outcome.kind.value}: {outcome.reason}" if outcome.reason else outcome.kind.value)
        return 0 if outcome.kind in (OutcomeKind.SENT, OutcomeKind.QUEUED) else EXIT_FAILED

    return _with_calls(settings, ask, show)


def row_of(remote: RemoteCall) -> dict[str, str]:
    """Return a call as one row of the list."""
    values = (remote.sid, remote.app, remote.path, remote.status, remote.owner)
    return dict(zip(COLUMNS, values, strict=True))


def table_text(rows: Sequence[dict[str, str]]) -> str:
    """Return rows under their heads, each column as wide as it has to be."""
    if not rows:
        return "no live calls"
    lines = [{name: name for name in COLUMNS}, *({name: _shown(row[name]) for name in COLUMNS} for row in rows)]
    widths = {name: max(len(line[name]) for line in lines) for name in COLUMNS}
    return "\n".join("  ".join(f"{line[name]:<{widths[name]}}" for name in COLUMNS).rstrip() for line in lines)


def _shown(text: str) -> str:
    """Return what a peer has said without anything that tells a terminal to do something."""
    return field_text(text) if text else ""


def _with_calls(settings: CommonSettings, ask: Callable[[Calls], Awaitable[_T]], show: Callable[[_T], int]) -> int:
    """Ask, then show what came; an error is one sentence on standard error and an exit code."""

    async def main() -> _T:
        connecting = Calls.connect(settings.redis_url, key_prefix=settings.key_prefix, connect_wait_s=CONNECT_LIMIT_S)
        async with connecting as calls:
            return await ask(calls)

    try:
        answer = run_command(main())
    except TimeoutError:
        return failed(no_answer(settings))
    except MessageTooBig as error:
        return failed(str(error), EXIT_USAGE)
    except (ClusterError, OSError) as error:
        return failed(str(error))
    except (ValueError, TypeError) as error:
        return failed(str(error), EXIT_USAGE)
    return show(answer)
