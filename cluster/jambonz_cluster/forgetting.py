"""What `jambonz-cluster forget` does: lets an app go whose workers were taken out of service for good."""

import asyncio

import click

from jambonz_cluster.connected import with_link
from jambonz_cluster.output import failed
from jambonz_cluster.status import read_status
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.link import Link


def forget_app(settings: CommonSettings, name: str) -> int:
    """Take an app out of Redis: gateways answer its paths with 404 then; return the exit code.

    What waits for its workers goes with it. An app with a living worker is refused, since it would announce itself
    again.
    """

    async def ask(link: Link, keys: Keys) -> tuple[str, bool]:
        status = await read_status(link, keys, settings.lease_s)
        app = next((app for app in status.apps if app.name == name), None)
        if app is None:
            return f"no app {name!r} is known; `status` names them", False
        if app.workers:
            return f"{app.workers} workers of the app {name!r} live; stop them first", False
        if status.refusal and app.silent_ms >= 0:
            return f"Redis refuses heartbeats ({status.refusal}): workers of the app {name!r} may live", False
        await link.call(b"SREM", keys.apps, name)
        await asyncio.gather(link.call(b"DEL", keys.app(name)), link.call(b"DEL", keys.dispatch(name)))
        await link.call(b"PUBLISH", keys.apps_changed, name)
        return f"forgot {name}, and {app.waiting} events that waited for its workers", True

    def show(told: tuple[str, bool]) -> int:
        text, is_forgotten = told
        if not is_forgotten:
            return failed(text)
        click.echo(text)
        return 0

    return with_link(settings, ask, show)
