"""An application of the SDK as its author starts it, a script: gateways and workers are killed under its calls."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis

from jambonz_shared.runtime.lifeline import die_with_parent
from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from jambonz_workers import Calls
from tests.chaos.proxy import Proxy
from tests.cluster_fixture import REPO, ClusterFactory
from tests.conditions import until
from tests.ports import free_row

FAST: Final = CallOptions(speed=20)


@asynccontextmanager
async def scripts(count: int, redis_url: str, folder: Path) -> AsyncIterator[list["subprocess.Popen[bytes]"]]:
    """Run the script so many times; each is ready, and killed at the end if the test has not done so."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        ports = [free_row(1) for _ in range(count)]
        for number, port in enumerate(ports):
            running.append(start(port, redis_url, folder / f"script-{number}.log"))
        for number, port in enumerate(ports):
            await until(partial(is_ready, port), f"script {number} is ready", limit_s=30)
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.to_thread(process.wait, 20)


def start(port: int, redis_url: str, log_file: Path) -> "subprocess.Popen[bytes]":
    """Start the script; settings come from the environment, as in its author's container."""
    settings = {"REDIS_URL": redis_url, "DRAIN_TIMEOUT": "1s", "INTERNAL_PORT": str(port)}
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.apps.sdk_echo"],
            cwd=REPO,
            env={**os.environ, **{f"JAMBONZ_CLUSTER_{name}": value for name, value in settings.items()}},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  two system calls, no lock
        )


async def is_ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/readyz") as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def nothing_held(redis_url: str) -> None:
    """Wait until the worker has cleared up what the dead gateway has left."""
    async with Redis.from_url(redis_url) as redis:

        async def is_clean() -> bool:
            return not [key async for key in redis.scan_iter("jc:held:*")]

        await until(is_clean, "no gateway holds a call")


async def echo(call: LiveCall, words: str, count: int) -> str:
    """Say something; return what the application says to it."""
    await call.say(words)
    hook = await call.wait_for_hook("/echo", count=count)
    said: dict[str, Any] = hook.verbs[0]["say"] if "say" in hook.verbs[0] else hook.verbs[0]
    text: str = said["text"]
    return text


async def test_calls_of_an_sdk_application_survive_the_death_of_their_gateway(
    cluster: ClusterFactory, redis_url: str, tmp_path: Path
) -> None:
    """kill -9: jambonz comes to another gateway, and the session goes on where it was, in the same process."""
    running = await cluster("tests.apps.sdk_echo:app", gateways=2, workers=0)
    async with (
        scripts(1, redis_url, tmp_path),
        Proxy([gateway.port for gateway in running.gateways]).listening() as balancer,
        live_call(f"ws://127.0.0.1:{balancer.port}/echo", Script(), FAST) as call,
    ):
        assert await echo(call, "Hello", 1) == "Hello, 1 here, 1 in all"
        (pair,) = balancer.pairs
        victim = next(gateway for gateway in running.gateways if gateway.port == pair.backend)
        balancer.backends = [gateway.port for gateway in running.gateways if gateway is not victim]
        victim.kill()
        await call.wait_for_sockets(2)
        await call.wait_for_hook(kind="session:reconnect")
        assert await echo(call, "again", 2) == "again, 2 here, 2 in all"
        assert await echo(call, "goodbye", 3) == "Goodbye"
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies
        await nothing_held(redis_url)


async def test_after_the_death_of_its_worker_a_session_goes_on_with_what_is_kept_in_the_call(
    cluster: ClusterFactory, redis_url: str, tmp_path: Path
) -> None:
    """kill -9: its handlers are registered again in another process; its locals are gone, the call's state is not."""
    running = await cluster("tests.apps.sdk_echo:app", gateways=1, workers=0)
    async with (
        scripts(2, redis_url, tmp_path) as processes,
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/echo", Script(), FAST) as call,
    ):
        assert await echo(call, "Hello", 1) == "Hello, 1 here, 1 in all"
        assert await echo(call, "there", 2) == "there, 2 here, 2 in all"
        owner = (await calls.get(call.call_sid)).owner
        (victim,) = [process for process in processes if f"-{process.pid}-" in owner]
        victim.kill()
        assert await echo(call, "again", 3) == "again, 1 here, 3 in all"
        assert [hook.kind for hook in call.hooks].count("session:new") == 1
        assert await echo(call, "goodbye", 4) == "Goodbye"
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies
        # What the session:new handler sent again in the other process went nowhere.
        assert result.commands == ()
