"""Errors of a gateway's own: each is counted, and stops nothing else."""

from typing import NoReturn

import pytest

from jambonz_gateway import server
from tests.conditions import until
from tests.integration.gateway.gateways import KEYS, WORKER, Worker, begun, caller, finished, gateway


async def test_callback_of_redis_that_raises_is_counted(
    redis_url: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs what it was called for, so somebody has to be told; here the look for what was said meanwhile."""
    monkeypatch.setattr(server._Server, "_resubscribed", _fail)
    async with gateway(redis_url) as running, caller(running.url + "/", "call-1") as jambonz:
        await begun(jambonz, worker)
        assert await running.metric("jambonz_gateway_failures_total") == 0
        await worker.redis.client_kill_filter(_type="pubsub")

        async def is_counted() -> bool:
            return await running.metric("jambonz_gateway_failures_total") == 1

        await until(is_counted, "the failure is counted")
        await jambonz.says("verb:hook")
        await worker.takes(KEYS.inbox(WORKER))
        await finished(jambonz, worker)


def _fail(_: object) -> NoReturn:
    raise LookupError
