"""Runs all checks in an order in which each finding explains the next ones."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import click

from jambonz_cluster.connected import CONNECT_LIMIT_S, connected
from jambonz_cluster.doctor.call_checks import Target, call_findings, ready_finding
from jambonz_cluster.doctor.cures import cure_of_redis
from jambonz_cluster.doctor.findings import Finding, fail, is_well, ok, report_text, warn
from jambonz_cluster.doctor.machine_checks import machine_findings
from jambonz_cluster.doctor.redis_checks import redis_findings
from jambonz_cluster.options import EXIT_FAILED
from jambonz_cluster.output import json_text
from jambonz_cluster.status import Status, read_status
from jambonz_shared.build import build_text
from jambonz_shared.config import GatewaySettings
from jambonz_shared.keys import Keys
from jambonz_shared.redis.admin import why_unreachable
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_workers import App


@dataclass(frozen=True, slots=True)
class Case:
    """What to look at.

    Attributes:
        app: The application whose workers should live; ``None`` for all that are known.
        url: Of the test call; empty: the gateway of these settings on this machine.
        plays_call: A test call runs the application's first handler.
    """

    settings: GatewaySettings
    app: App | None
    url: str
    plays_call: bool


def run_doctor(case: Case, *, as_json: bool) -> int:
    """Examine, print the report, and return 0 if nothing has failed, else 1."""
    # What links and the simulator log about their tries is for processes that run for days.
    logging.getLogger().addHandler(logging.NullHandler())
    findings = run_in_loop(_all(case))
    click.echo(json_text([finding.to_json() for finding in findings]) if as_json else report_text(findings))
    return 0 if is_well(findings) else EXIT_FAILED


async def _all(case: Case) -> list[Finding]:
    """Return what every check finds. A call is not played to a gateway of these settings that could not serve it."""
    target = target_of(case)
    findings = [finding async for finding in _examine(case, target)]
    if not case.plays_call:
        return findings
    if not case.url and not is_well(findings):
        return [*findings, warn("call", "not played", "mend what has failed first")]
    return findings + await call_findings(target)


async def _examine(case: Case, target: Target) -> AsyncIterator[Finding]:
    settings = case.settings
    yield ok("settings", "all can be used")
    yield ok("build", build_text())
    ready = await ready_finding(target.readyz) if target.readyz else None
    for finding in machine_findings(settings, is_gateway_here=ready is not None or bool(case.url)):
        yield finding
    async for finding in _redis(case):
        yield finding
    if ready is not None:
        yield ready
    elif target.readyz:
        cure = "start one: jambonz-cluster gateway; or name the one you mean with --url"
        yield fail("gateway", f"nobody answers at {target.readyz}", cure)


def target_of(case: Case) -> Target:
    """Return where the test call goes, and where its gateway says whether it is ready."""
    settings = case.settings
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
    readyz = f"http://{host}:{settings.internal_port}/readyz" if settings.internal_port else ""
    if case.url:
        # The internal port of another machine is nobody's business outside; where it is reached, it tells more.
        return Target(case.url, "")
    login = f"{settings.basic_auth.get_secret_value()}@" if settings.basic_auth else ""
    scheme = "wss" if settings.tls_certificate_file else "ws"
    url = f"{scheme}://{login}{host}:{settings.port}{first_path(case.app)}#rc=1"
    return Target(url, readyz, is_guess=case.app is None)


def first_path(app: App | None) -> str:
    """Return a path of the app without variables, with its name before it unless it is the default one."""
    if app is None:
        return "/"
    prefix = "" if app.name == "default" else f"/{app.name}"
    paths = [path for path in app.manifest().paths if "{" not in path]
    return prefix + (min(paths) if paths else "/")


async def _redis(case: Case) -> AsyncIterator[Finding]:
    settings, keys = case.settings, Keys(case.settings.key_prefix)
    if reason := await why_unreachable(settings.redis_url, keys.apps):
        yield fail("redis", f"cannot be used: {reason}", cure_of_redis(reason))
        return
    async with contextlib.AsyncExitStack() as stack:
        link = await stack.enter_async_context(connected(settings))
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await link.wait_up()
            for finding in await redis_findings(link, keys):
                yield finding
            for finding in process_findings(await read_status(link, keys, settings.lease_s), case.app):
                yield finding
        except ResponseError as error:
            cure = "give its user the rights of deploy/redis/start.sh"
            yield fail("redis", f"refuses what was to be looked at: {error}", cure)
        except (LinkError, TimeoutError) as error:
            if link.refusal:
                yield fail("redis", f"refuses this process: {link.refusal}", cure_of_redis(link.refusal))
            else:
                yield fail("redis", f"went away meanwhile: {str(error) or 'no answer in time'}", "look at its log")


def process_findings(status: Status, app: App | None) -> Sequence[Finding]:
    """Judge which processes live, and whether events wait for somebody."""
    found: list[Finding] = []
    if status.refusal:
        text = f"heartbeats are refused: {status.refusal}; who is silent may live all the same"
        found.append(fail("redis", text, cure_of_redis(status.refusal)))
    if status.gateways:
        found.append(ok("gateways", f"{len(status.gateways)} live, with {status.calls} calls"))
    else:
        found.append(_missing(status, "gateways", "none", "start one: jambonz-cluster gateway"))
    known = {row.name: row for row in status.apps}
    names = [app.name] if app else sorted(known)
    if not names:
        found.append(fail("workers", "no app is known", "start one: jambonz-cluster worker MODULE:APP"))
    for name in names:
        row = known.get(name)
        if row is None or not row.workers:
            cure = "start one: jambonz-cluster worker MODULE:APP"
            found.append(_missing(status, "workers", f"none of the app {name!r}", cure))
        elif row.waiting:
            cure = "start more workers, or look at why these take no calls (/readyz on port 8082)"
            found.append(
                warn("workers", f"{row.workers} of the app {name!r} live, but {row.waiting} events wait", cure)
            )
        else:
            found.append(ok("workers", f"{row.workers} of the app {name!r} live"))
    return found


def _missing(status: Status, check: str, who: str, cure: str) -> Finding:
    if status.refusal:
        return fail(check, f"{who} is heard of: heartbeats are refused", "mend Redis first")
    return fail(check, f"{who} lives", cure)
