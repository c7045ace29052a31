"""An ended call is gone at once: the garbage collector is tuned to come seldom (``tune_garbage_collection``)."""

import gc
from collections import Counter

from tests.conditions import until
from tests.integration.gateway.gateways import Worker, begun, caller, finished, gateway

# What a gateway makes for a call, websockets' own objects among it.
MADE = frozenset({"Connection", "Session", "Route", "Delivery", "OwedAcks", "Protocol", "_Place", "_Followed"})


def made() -> Counter[str]:
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in MADE)


async def test_ended_calls_leave_nothing_for_the_garbage_collector(redis_url: str, worker: Worker) -> None:
    """Cycles of calls that were long enough alive would stay for hours."""
    async with gateway(redis_url) as running:

        async def call(sid: str) -> None:
            async with caller(running.url, sid) as jambonz:
                await begun(jambonz, worker)
                await finished(jambonz, worker)

        await call("call-0")
        gc.collect()
        before = made()
        gc.disable()
        try:
            for number in range(1, 4):
                await call(f"call-{number}")
            await until(lambda: made() == before, "ended calls are gone")
        finally:
            gc.enable()
