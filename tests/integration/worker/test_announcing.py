"""What workers say of their application: two of one name, and what a Redis that comes back learns."""

import pytest
from redis.asyncio import Redis

from jambonz_shared.keys import Keys
from jambonz_shared.manifest import Manifest
from jambonz_workers import App, Call
from tests.conditions import until
from tests.integration.worker.conftest import Start


def application(*paths: str) -> App:
    app = App()
    for path in paths:

        @app.session(path)
        async def begin(call: Call) -> None: ...

    return app


async def known_paths(redis: Redis) -> tuple[str, ...]:
    raw: bytes | None = await redis.get(Keys().app("default"))  # type: ignore[assignment]
    return Manifest.decode(raw).paths if raw else ()


async def test_older_worker_does_not_take_back_what_a_newer_one_has_said(start: Start, redis: Redis) -> None:
    """In a roll-out, Redis cuts all connections: calls at the new path would get 404 as long as the old one lives."""
    older = (await start(application("/ivr"))).worker._link
    await start(application("/ivr", "/new"))
    connects = older.connects
    await redis.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: older.connects > connects and older.is_up, "the older one is back")
    await older.call("PING")
    assert await known_paths(redis) == ("/ivr", "/new")


async def test_redis_that_has_lost_everything_learns_the_application_again(start: Start, redis: Redis) -> None:
    """Gateways would answer 404."""
    await start(application("/ivr"))
    await redis.delete(Keys().app("default"))
    await redis.client_kill_filter(_type="normal", skipme=True)

    async def is_known() -> bool:
        return await known_paths(redis) == ("/ivr",)

    await until(is_known, "it has been told")


async def test_redis_that_went_back_in_time_learns_the_newer_application_again(start: Start, redis: Redis) -> None:
    """A snapshot of before the roll-out: the new sessions would get 404 until a worker is started again."""
    await start(application("/ivr"))
    before = await redis.get(Keys().app("default"))
    await start(application("/ivr", "/new"))
    assert before is not None
    await redis.set(Keys().app("default"), before)
    await redis.client_kill_filter(_type="normal", skipme=True)

    async def is_known() -> bool:
        return await known_paths(redis) == ("/ivr", "/new")

    await until(is_known, "the newer one has been told")


async def test_second_application_of_one_name_is_warned_of(
    start: Start, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Two applications without a name hide each other's paths; one that has learned a path is no other."""
    await start(application("/ivr"))
    await start(application("/ivr", "/new"))
    assert not caplog.records
    await start(application("/survey"))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "two applications need two names" in warning.message
    assert vars(warning)["sessions"] == "/ivr /new"
