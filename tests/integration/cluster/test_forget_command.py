"""`jambonz-cluster forget`, against real processes."""

import websockets
from redis.asyncio import Redis

from jambonz_shared.keys import Keys
from jambonz_shared.manifest import Manifest
from tests.cluster_fixture import ClusterFactory
from tests.command_line import run_command
from tests.conditions import until

KEYS = Keys()


async def forget(app: str, redis_url: str) -> tuple[int, str, str]:
    return await run_command("forget", app, "--redis-url", redis_url)


async def answers(url: str) -> int:
    """Return the HTTP status of a websocket request."""
    try:
        async with websockets.connect(url, subprotocols=[websockets.Subprotocol("ws.jambonz.org")]):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


async def test_app_that_is_forgotten_is_not_found_any_more(cluster: ClusterFactory, redis_url: str) -> None:
    """Its workers are gone for good; jambonz hears so, instead of the fallback."""
    running = await cluster("tests.apps.waiting:app", gateways=1, workers=1)
    async with Redis.from_url(redis_url) as redis:
        await redis.set(KEYS.app("old"), Manifest("old", paths=("/old",)).encode())
        await redis.sadd(KEYS.apps, "old")
        await redis.xadd(KEYS.dispatch("old"), {"e": b"nobody reads it"})
        await redis.publish(KEYS.apps_changed, "old")

        async def is_known() -> bool:
            return await answers(f"{running.url}/old") == 101

        await until(is_known, "the gateway knows the app")
        code, out, _ = await forget("old", redis_url)
        assert (code, out) == (0, "forgot old, and 1 events that waited for its workers\n")
        assert await redis.exists(KEYS.app("old"), KEYS.dispatch("old")) == 0

        async def is_unknown() -> bool:
            return await answers(f"{running.url}/old") == 404

        await until(is_unknown, "the gateway has forgotten it")
        assert await answers(f"{running.url}/waiting") == 101


async def test_app_that_is_served_or_unknown_is_refused(cluster: ClusterFactory, redis_url: str) -> None:
    """A worker would announce it again; a misspelt name is no success."""
    await cluster("tests.apps.waiting:app", gateways=0, workers=1)
    code, _, error = await forget("waiting", redis_url)
    assert (code, error) == (1, "error: 1 workers of the app 'waiting' live; stop them first\n")
    code, _, error = await forget("waitng", redis_url)
    assert (code, error) == (1, "error: no app 'waitng' is known; `status` names them\n")
