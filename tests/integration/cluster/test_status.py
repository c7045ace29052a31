"""`jambonz-cluster status`, against real processes."""

import asyncio
import json
import sys

import aiohttp
from redis.asyncio import Redis

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_cluster.status_page import status_http
from jambonz_shared.config import CommonSettings
from jambonz_shared.keys import Keys
from jambonz_simulator.client import live_call
from jambonz_simulator.core.script import Script
from tests.cluster_fixture import REPO, ClusterFactory
from tests.command_line import run_command
from tests.conditions import until
from tests.integration.redis.desk import execute
from tests.ports import free_row

KEYS = Keys()


async def run(*arguments: str) -> tuple[int, str, str]:
    return await run_command("status", *arguments)


async def test_status_counts_processes_and_calls(cluster: ClusterFactory, redis_url: str) -> None:
    """The numbers are those of the processes that run."""
    running = await cluster("tests.apps.waiting:app", gateways=2, workers=1)
    async with live_call(f"{running.url}/waiting", Script(name="waiting")) as call:
        await call.wait_for_verb("pause")

        async def shows_the_call() -> bool:
            _, out, _ = await run("--json", "--redis-url", redis_url)
            return bool(json.loads(out)["calls"] == 1)

        await until(shows_the_call, "the status counts the call")
        code, out, _ = await run("--json", "--redis-url", redis_url)
        told = json.loads(out)
        call.hang_up()
        await call.wait_for_end()
    assert code == 0
    assert (len(told["gateways"]), len(told["workers"])) == (2, 1)
    assert [(app["name"], app["workers"]) for app in told["apps"]] == [("waiting", 1)]


async def test_status_of_an_empty_redis_fails_and_says_why(redis_url: str) -> None:
    """Exit code 1 stops a deployment that has started nothing."""
    code, out, _ = await run("--redis-url", redis_url)
    assert code == 1
    assert out.splitlines()[1:] == ["problem  no gateway lives", "problem  no app is known: start a worker"]


async def test_worker_that_has_been_silent_for_its_lease_does_not_live(redis_url: str) -> None:
    """Killed with nobody there to adopt its calls, it leaves its hash for a day; the operator must not be soothed."""
    async with Redis.from_url(redis_url) as redis:
        seconds, _ = await redis.time()
        await redis.sadd(KEYS.apps, "ivr")
        await redis.zadd(KEYS.workers, {"w1": (seconds - 60) * 1000})
        await redis.hset(KEYS.worker("w1"), mapping={"app": "ivr", "calls": "7", "capacity": "10"})
        await redis.expire(KEYS.worker("w1"), 60)
    code, out, _ = await run("--redis-url", redis_url)
    assert code == 1
    assert out.splitlines()[0] == "0 calls, 0 gateways, 0 workers"
    assert "problem  no worker of the app 'ivr' lives: the last one was heard of 6" in out


async def test_processes_that_redis_does_not_hear_are_not_called_dead(cluster: ClusterFactory, redis_url: str) -> None:
    """Redis without memory refuses heartbeats; with "no gateway lives" somebody would start more gateways."""
    await cluster("tests.apps.waiting:app")
    async with Redis.from_url(redis_url) as redis:
        await redis.config_set("maxmemory", 1)
        try:

            async def says_so() -> bool:
                code, out, _ = await run("--redis-url", redis_url)
                assert "lives" not in out
                return code == 1 and "no gateway is heard of" in out

            await until(says_so, "the lease is over")
            _, out, _ = await run("--redis-url", redis_url)
            code, _, forgetting = await run_command("forget", "waiting", "--redis-url", redis_url)
        finally:
            await redis.config_set("maxmemory", 0)
    assert "problem  Redis refuses heartbeats: OOM; who is silent may live all the same" in out.splitlines()
    assert (code, forgetting) == (1, "error: Redis refuses heartbeats (OOM): workers of the app 'waiting' may live\n")


async def test_status_that_redis_refuses_is_one_sentence(redis_url: str) -> None:
    """A user with fewer rights than documented reads which one is missing, not a traceback."""
    async with Redis.from_url(redis_url) as redis:
        await execute(redis, "ACL", "SETUSER", "looker", "on", ">pw", "~*", "&*", "+@all", "-smembers")
        code, out, err = await run("--redis-url", redis_url.replace("redis://", "redis://looker:pw@"))
        await execute(redis, "ACL", "DELUSER", "looker")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "smembers" in err
    assert err.count("\n") == 1


async def test_status_without_redis_is_one_sentence() -> None:
    """No traceback at the moment when nerves are thin."""
    code, out, err = await run("--redis-url", "redis://127.0.0.1:1/0")
    assert (code, out) == (1, "")
    assert err.startswith("error: Redis does not answer: ")
    assert "127.0.0.1:1" in err
    assert err.count("\n") == 1


async def test_page_tells_of_a_redis_that_goes_away(redis_server: EmbeddedRedis) -> None:
    """The page outlives Redis: it answers 503 and says what is missing."""
    settings = CommonSettings(redis_url=redis_server.url)
    async with status_http(settings, "127.0.0.1", 0) as http, aiohttp.ClientSession() as client:

        async def answer(path: str) -> tuple[int, str]:
            async with client.get(f"http://127.0.0.1:{http.port}{path}") as response:
                return response.status, await response.text()

        async def is_up() -> bool:
            return (await answer("/status.json"))[0] == 200

        await until(is_up, "the page has reached Redis")
        assert "no gateway lives" in (await answer("/"))[1]
        redis_server.kill()
        status, text = await answer("/status.json")
        [problem] = json.loads(text)["problems"]
        assert status == 503
        assert problem.startswith("Redis does not answer: ")
        assert (await answer("/"))[0] == 503
        assert (await answer("/healthz"))[0] == 200


async def test_page_tells_of_a_redis_that_refuses(redis_server: EmbeddedRedis) -> None:
    """A wrong password is no silence: who reads that it does not answer looks in the wrong place."""
    settings = CommonSettings(redis_url=redis_server.url.replace("redis://", "redis://nobody:wrong@"))
    async with status_http(settings, "127.0.0.1", 0) as http, aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{http.port}/status.json") as response:
            [problem] = (await response.json())["problems"]
        assert response.status == 503
        assert problem.startswith("Redis refuses: ")
        assert "wrong" not in problem


async def test_served_page_ends_with_exit_code_0_when_told(redis_url: str) -> None:
    """A container that stops its page is no failure; one that cannot serve it is."""
    port = free_row(1)
    arguments = ("--serve", str(port), "--redis-url", redis_url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "jambonz_cluster", "status", *arguments), cwd=REPO, stderr=asyncio.subprocess.DEVNULL
    )
    async with aiohttp.ClientSession() as client:

        async def answers() -> bool:
            try:
                async with client.get(f"http://127.0.0.1:{port}/") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await until(answers, "the page is served")
    code, _, err = await run(*arguments)
    assert code == 1
    assert "cannot run" in err
    process.terminate()
    assert await process.wait() == 0
