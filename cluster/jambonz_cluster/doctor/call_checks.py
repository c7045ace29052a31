"""Whether a call would be answered: the gateway's readiness, its credentials, and one call from end to end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from jambonz_cluster.doctor.findings import Finding, fail, ok, warn
from jambonz_simulator import CallOptions, NotInTime, live_call
from jambonz_simulator.core.records import HookRecord
from jambonz_simulator.core.script import Script

_READY_LIMIT_S: Final = 2.0
# jambonz gives up on a hook after 5 s (PROTOCOL.md 2.3); the gateway answers by itself at 4 s (ack_deadline).
_CALL_LIMIT_S: Final = 15.0
_FALLBACK_S: Final = 3.8
_SLOW_S: Final = 1.0
# Always the same: a gateway counts it as one guess (logins.py).
_WRONG: Final = ("doctor", "this secret is wrong")
# What workers answer by themselves (effects.py); a handler may decline with another status, and be right.
_DECLINES: Final[Mapping[object, str]] = {
    500: "its handler failed: look at the log of the worker",
    404: "the app has no session handler for this path: look at the log of the worker",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the test call goes.

    Attributes:
        url: As in jambonz, credentials and ``#`` options included.
        readyz: Where its gateway says whether it is ready; empty if nobody knows.
        is_guess: Nobody has said which path an application serves.
    """

    url: str
    readyz: str
    is_guess: bool = False

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def ready_finding(url: str) -> Finding | None:
    """Return what ``/readyz`` says, ``None`` if nobody answers there."""
    limit = aiohttp.ClientTimeout(total=_READY_LIMIT_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as client, client.get(url) as response:
            body = await response.json(content_type=None)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    if status == 200:
        return ok("gateway", f"{url} is ready")
    checks = body.get("checks", {}) if isinstance(body, dict) else {}
    reasons = "; ".join(f"{name}: {check.get('reason')}" for name, check in checks.items() if not check.get("ok"))
    return fail("gateway", f"{url} answers {status} ({reasons or 'no reason given'})", "mend what it names, or wait")


async def call_findings(target: Target) -> list[Finding]:
    """Play a call to its first answer, then hang up; and try a wrong secret."""
    found = [await _call(target)]
    if not urlsplit(target.url).fragment:
        cure = "put #rc=5&rp=ct,rt,5xx behind the URL in jambonz: it then tries again where it otherwise gives up"
        found.append(warn("url", "no options for retries", cure))
    found.append(await _wrong_secret(target))
    return found


async def _call(target: Target) -> Finding:
    options = CallOptions(speed=1000, orphan_linger_s=0.1)
    try:
        async with live_call(target.url, Script(), options) as call:
            await call.wait_for("the first answer", lambda it: _settled(it.hooks) or it.result, _CALL_LIMIT_S)
            hooks = list(call.hooks)
            outcome = call.result.outcome if call.result else None
            if outcome is None:
                call.hang_up()
                await call.wait_for_end(_CALL_LIMIT_S)
    except NotInTime as error:
        return fail("call", f"{target.shown}: {error}", "look at the logs of gateway and worker")
    if outcome is not None and target.is_guess and "404" in outcome.reason:
        cure = "name the application (doctor MODULE:APP), or a URL that it serves (--url)"
        return warn("call", f"not played: no application serves {target.shown}", cure)
    if outcome is not None and outcome.kind == "failed":
        return fail("call", f"{target.shown} cannot be reached: {outcome.reason}", cure_of(outcome.reason))
    if outcome is not None and outcome.kind == "rejected":
        return fail("call", f"{target.shown}: rejected: {outcome.reason}", "look at the log of the worker")
    return judge(target.shown, next((hook for hook in hooks if hook.kind == "session:new"), None))


def _settled(hooks: list[HookRecord]) -> bool:
    return any(hook.kind == "session:new" and (hook.is_acked or hook.dead_by) for hook in hooks)


def judge(shown: str, hook: HookRecord | None) -> Finding:
    """Judge the answer to the first message of a call."""
    if hook is None or hook.latency_s is None:
        return fail("call", f"{shown}: the call got no answer within 5 s", "look at the log of the gateway")
    if cure := _DECLINES.get(_declined_with(hook)):
        return fail("call", f"{shown}: declined with {_declined_with(hook)}", cure)
    text = f"{shown}: answered after {hook.latency_s * 1000:.0f} ms"
    if hook.latency_s >= _FALLBACK_S:
        return fail("call", f"{text}, by the gateway's fallback", "start a worker, or look at why none takes the call")
    if hook.latency_s >= _SLOW_S:
        return warn("call", text, "see what the handler waits for before its first verbs")
    return ok("call", text)


def _declined_with(hook: HookRecord) -> object:
    """Return the status of a first verb that takes no call."""
    first = hook.verbs[0] if hook.verbs else {}
    return first.get("status") if first.get("verb") == "sip:decline" else None


def cure_of(reason: str) -> str:
    """Return what to do about a websocket that could not be opened."""
    if "401" in reason:
        return "give --url with the right credentials: ws://user:secret@host/path"
    if "429" in reason:
        return "too many wrong credentials came from here: wait a minute"
    if "404" in reason:
        return "no app that these credentials open takes this path: check it, and that a worker has been started"
    return "check host, port and firewall, and that a gateway runs; with wss:// that its certificate is trusted here"


async def _wrong_secret(target: Target) -> Finding:
    parts = urlsplit(target.url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="rc=1").geturl()
    options = CallOptions(credentials=_WRONG, orphan_linger_s=0.1)
    try:
        async with live_call(bare, Script(), options) as call:
            await call.wait_for("an answer", lambda it: it.is_connected or it.result, _CALL_LIMIT_S)
            is_in = call.is_connected
            reason = call.result.outcome.reason if call.result else ""
            if is_in:
                call.hang_up()
                await call.wait_for_end(_CALL_LIMIT_S)
    except NotInTime as error:
        return warn("credentials", f"cannot tell: {error}", "look at the log of the gateway")
    if is_in:
        cure = (
            "set JAMBONZ_CLUSTER_BASIC_AUTH or credentials (docs/how-to/secure-the-gateway.md), or keep strangers out"
        )
        return warn("credentials", "the gateway lets anybody in", cure)
    if "401" in reason or "429" in reason:
        return ok("credentials", "wrong ones are refused")
    return warn("credentials", f"cannot tell: {reason}", "see the call above")
