"""Credentials of several apps at one gateway: who gets in, what a guess costs, what happens when they change."""

import asyncio
import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidMessage, InvalidStatus

from jambonz_shared.credentials import Credential, SecretHash
from tests.conditions import until
from tests.integration.gateway.gateways import KEYS, RunningGateway, Worker, caller, gateway
from tests.integration.gateway.test_http import basic, publish_manifest, refused

SALT = bytes(16)


def line(app: str, user: str, secret: str, *, log2_n: int = 0) -> str:
    return str(Credential(frozenset({app}), user, SecretHash.of(secret, SALT, log2_n=log2_n)))


async def publish_apps(redis: Redis, *names: str) -> None:
    """Write what workers of apps with a session at /ivr write at their start."""
    for name in names:
        manifest = {"version": 1, "app": name, "paths": ["/ivr"], "open": False, "env": {}, "fallback": None}
        await redis.set(KEYS.app(name), orjson.dumps(manifest | {"hooks": {}}))
        await redis.sadd(KEYS.apps, name)


async def login(running: RunningGateway, user_and_secret: str, path: str = "/ivr") -> int:
    """Try to open a websocket and return the status of the answer."""
    try:
        async with caller(running.url + path, "call-1", additional_headers=basic(user_and_secret)):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def test_each_account_reaches_its_own_app_at_the_same_path(redis_url: str, worker: Worker) -> None:
    """Credentials tell apps apart, and the other one's path does not even exist."""
    await publish_apps(worker.redis, "acme", "zenith")
    lines = "\n".join([line("acme", "a", "1"), line("zenith", "z", "2")])
    async with gateway(redis_url, credentials=lines) as running:
        for user, app in (("a:1", "acme"), ("z:2", "zenith")):
            async with caller(running.url + "/ivr", f"call-{app}", additional_headers=basic(user)) as jambonz:
                await jambonz.says("session:new", direction="inbound")
                await worker.takes(KEYS.dispatch(app))
                await worker.claims(jambonz.sid)
                await jambonz.says("call:status", call_status="completed")
            await worker.ends(jambonz.sid)
            await worker.redis.xtrim(KEYS.dispatch(app), maxlen=0)
        assert await login(running, "a:1", "/zenith/ivr") == 404
        assert await refused(running, "/ivr") == 401
        assert await login(running, "a:2") == 401


async def test_account_of_an_unknown_app_hears_the_fallback_until_a_worker_comes(redis_url: str) -> None:
    """The very first call to a new cluster is not refused: 404 would not be tried again (PROTOCOL.md 1.2)."""
    async with gateway(redis_url, credentials=line("acme", "a", "1")) as running:
        assert await login(running, "a:1", "/whatever") == 101


async def test_slow_hash_does_not_keep_other_calls_waiting(redis_url: str, worker: Worker) -> None:
    """It runs in a thread: the loop goes on, and all who come with the same login are let in by one hash."""
    await publish_manifest(worker.redis)
    lines = "\n".join([line("default", "slow", "chosen", log2_n=13), line("default", "fast", "made")])
    async with gateway(redis_url, credentials=lines) as running:
        assert await login(running, "fast:made") == 101
        slow = [asyncio.create_task(login(running, "slow:chosen")) for _ in range(30)]
        started_s = time.monotonic()
        assert await login(running, "fast:made") == 101
        fast_s = time.monotonic() - started_s
        assert await asyncio.gather(*slow) == [101] * 30
        assert fast_s < 1.0
        assert await running.metric('jambonz_gateway_handshakes_total{status="101"}') == 32
        assert await running.metric("jambonz_gateway_unproved_logins_total") == 0


async def test_flood_of_slow_logins_is_reset_and_forgotten(redis_url: str, worker: Worker) -> None:
    """More different secrets than can be hashed in time: TCP resets, after which jambonz tries again."""
    await publish_manifest(worker.redis)
    lines = "\n".join(line("default", f"user-{number}", "chosen", log2_n=12) for number in range(40))
    async with gateway(redis_url, credentials=lines) as running:

        async def guess(number: int) -> None:
            with contextlib.suppress(InvalidMessage, ConnectionError):
                await login(running, f"user-{number}:wrong")

        await asyncio.gather(*(guess(number) for number in range(40)))
        assert await running.metric("jambonz_gateway_unproved_logins_total") >= 1
        assert await login(running, "user-39:chosen") == 101


async def test_login_whose_hash_fails_ends_alone_and_may_come_again(
    redis_url: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory for a moment: those who waited for the same hash are not left hanging."""
    await publish_manifest(worker.redis)
    async with gateway(redis_url, credentials=line("default", "a", "chosen", log2_n=12)) as running:
        scrypt = hashlib.scrypt
        failed: list[object] = []

        def fail_once(*args: Any, **options: Any) -> bytes:
            if not failed:
                failed.append(args)
                raise MemoryError
            return scrypt(*args, **options)

        monkeypatch.setattr(hashlib, "scrypt", fail_once)
        came = await asyncio.gather(*(login(running, "a:chosen") for _ in range(5)), return_exceptions=True)
        assert came.count(101) == 4
        assert await login(running, "a:chosen") == 101
        assert await running.metric("jambonz_gateway_failures_total") == 1


async def test_guesses_over_the_limit_get_429(redis_url: str, worker: Worker) -> None:
    """The limit and its metric; a credential that was used before is still let in from the same address."""
    await publish_manifest(worker.redis)
    lines = "\n".join([line("default", "a", "right"), line("default", "b", "right")])
    async with gateway(redis_url, credentials=lines, max_login_failures=3) as running:
        assert await login(running, "a:right") == 101
        statuses = [await login(running, f"{user}:{guess}") for user in "ab" for guess in range(5)]
        assert statuses == [401, 401, 401, 429, 429] * 2
        assert await login(running, "b:right") == 429
        assert await login(running, "a:right") == 101
        assert await running.metric('jambonz_gateway_handshakes_total{status="429"}') == 5


async def test_changed_file_counts_at_once_and_open_websockets_stay(
    redis_url: str, worker: Worker, tmp_path: Path
) -> None:
    """A secret is replaced without a restart; a file that cannot be used changes nothing but a counter."""
    await publish_manifest(worker.redis)
    file = tmp_path / "credentials"
    file.write_text(line("default", "a", "old"))
    async with (
        gateway(redis_url, credentials_file=str(file)) as running,
        caller(running.url + "/ivr", "call-1", additional_headers=basic("a:old")) as jambonz,
    ):
        file.write_text("nonsense, half written")

        async def has_failed() -> bool:
            return await running.metric("jambonz_gateway_failed_reloads_total") == 1

        await until(has_failed, "the file was read and refused")
        assert await login(running, "a:old") == 101
        file.write_text(line("default", "a", "new"))

        async def is_new() -> bool:
            return await login(running, "a:new") == 101

        await until(is_new, "the new secret is right")
        assert await login(running, "a:old") == 401
        await jambonz.socket.ping()
        assert jambonz.socket.close_code is None


@pytest.mark.parametrize(
    ("setting", "header", "value", "other"),
    [
        ("headers", "X-Forwarded-For", "{}", "Forwarded"),
        ("x-forwarded-for", "X-Forwarded-For", "{}", "Forwarded"),
        ("forwarded", "Forwarded", "for={}", "X-Forwarded-For"),
    ],
)
async def test_address_a_trusted_proxy_tells_is_the_one_that_is_limited(
    redis_url: str, worker: Worker, setting: str, header: str, value: str, other: str
) -> None:
    """Behind a balancer everybody has its address; guesses of one must not count against the others.

    A proxy passes on the header that it does not write: whoever guesses could invent an address for each guess.
    """
    await publish_manifest(worker.redis)
    changes = {"behind_proxy": setting, "trusted_proxies": "127.0.0.0/8", "max_login_failures": 2}
    async with gateway(redis_url, credentials=line("default", "a", "right"), **changes) as running:

        async def comes(address: str, secret: str) -> int:
            headers = basic(f"a:{secret}") | {header: value.format(address)}
            headers[other] = f"for=203.0.113.{secret[-1]}" if other == "Forwarded" else f"203.0.113.{secret[-1]}"
            if secret == "right":
                async with caller(running.url + "/ivr", "call-1", additional_headers=headers):
                    return 101
            return await refused(running, "/ivr", additional_headers=headers)

        assert [await comes("198.51.100.7", f"guess-{n}") for n in range(3)] == [401, 401, 429]
        assert await comes("192.0.2.7", "right") == 101


async def test_login_for_another_app_than_that_of_the_path_is_told(
    redis_url: str, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of credentials begins with the name of an app; its path looks much the same."""
    await publish_apps(worker.redis, "default")
    async with gateway(redis_url, credentials=f"{line('ivr', 'a', 'x')}\n{line('*', 'b', 'x')}") as running:
        for user in ("a", "b"):
            assert await refused(running, "/secret", additional_headers=basic(f"{user}:x")) == 404
    told = [vars(record) for record in caplog.records if "no app takes the path" in record.getMessage()]
    assert [(it["apps"], it.get("login_is_for")) for it in told] == [("default", "ivr"), ("default", None)]
