"""A process of its own that watches live calls and takes one over: ``python examples/supervisor.py list``."""

import asyncio
import os
import sys

import click

from jambonz_workers import CallGone, Calls, OutcomeKind

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


async def show(app: str | None) -> None:
    async with Calls.connect(REDIS_URL) as calls:
        for call in await calls.list(app):
            try:
                state = await call.state()
            except CallGone:
                # It has ended since the list was made.
                continue
            click.echo(f"{call.sid}  {call.app}  {call.status or '-'}  state: {sorted(state)}")


async def take_over(call_sid: str, text: str) -> None:
    async with Calls.connect(REDIS_URL) as calls:
        try:
            call = await calls.get(call_sid)
            outcome = await call.redirect([{"verb": "say", "text": text}, {"verb": "hangup"}])
        except CallGone as error:
            sys.exit(f"too late: {error}")
    click.echo(f"{outcome.kind.value} {outcome.reason}".strip())
    if outcome.kind is OutcomeKind.REFUSED:
        sys.exit(1)


@click.group()
def main() -> None:
    """Watch live calls, and take one over."""


@main.command("list")
@click.option("--app", default=None, help="Only calls of this app.")
def list_command(app: str | None) -> None:
    """List live calls."""
    asyncio.run(show(app))


@main.command("take")
@click.argument("call_sid")
@click.option("--say", "text", default="A supervisor ends this call. Goodbye.", help="What the caller hears.")
def take_command(call_sid: str, text: str) -> None:
    """Interrupt a call, say a sentence and hang up."""
    asyncio.run(take_over(call_sid, text))


if __name__ == "__main__":
    main()
