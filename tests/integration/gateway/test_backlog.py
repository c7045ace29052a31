"""Events that wait for Redis: within their limit, in order, and cheap however many there are."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from jambonz_gateway.holding import Pool
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.uplink import Uplink
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from tests.conditions import until
from tests.integration.gateway.gateways import DISPATCH, KEYS, WORKER, Worker

BODY: Final = b"x" * 100


class Origin:
    """Who has published; here nobody's inbox is ever gone."""

    app_name = "default"

    def returned(self, worker_id: str, envelope: Envelope) -> None:
        raise AssertionError((worker_id, envelope.n))


@asynccontextmanager
async def up(link: Link) -> AsyncIterator[None]:
    """Have the link's connection to Redis for a while."""
    running = asyncio.create_task(link.run())
    await link.wait_up()
    yield
    running.cancel()


@pytest.fixture
async def uplink(redis_url: str) -> AsyncIterator[Uplink]:
    """An uplink while Redis is there."""
    link = Link(UrlEndpoint(redis_url))
    async with up(link):
        yield Uplink(link, KEYS, Metrics(), pool=Pool(10 * len(BODY), 1))


def event(number: int, kind: str) -> Envelope:
    return Envelope("call-1", 1, number, kind, f"m{number}", 0, "gw-1", is_acked=False, body=BODY)


async def test_long_outage_drops_the_oldest_notices_first_and_then_the_oldest_hooks(
    redis_url: str, worker: Worker
) -> None:
    """What is left is published in its order when Redis is back."""
    link, metrics = Link(UrlEndpoint(redis_url)), Metrics()
    uplink = Uplink(link, KEYS, metrics, pool=Pool(4 * len(BODY), 1))
    for number, kind in enumerate(["verb:hook", "llm:event", "verb:hook", "llm:event", "verb:hook", "verb:hook"], 1):
        uplink.publish(Origin(), WORKER, event(number, kind))
    assert (uplink.backlog_bytes, metrics.sessions["event_dropped"]) == (4 * len(BODY), 2)
    uplink.publish(Origin(), WORKER, event(7, "verb:hook"))
    uplink.publish(Origin(), WORKER, event(8, "llm:event"))
    async with up(link):
        uplink.resume()
        assert uplink.backlog_bytes == 0
        assert [envelope.n for envelope in await worker.takes(KEYS.inbox(WORKER), 4)] == [3, 5, 6, 7]


async def test_uplink_is_idle_when_redis_has_taken_every_event(redis_url: str, worker: Worker) -> None:
    """P6: a gateway that is told to go waits for that; what it has not handed over by then is lost with it."""
    link = Link(UrlEndpoint(redis_url))
    uplink = Uplink(link, KEYS, Metrics(), pool=Pool(10 * len(BODY), 1))
    uplink.publish(Origin(), WORKER, event(1, "verb:hook"))
    assert not uplink.is_idle, "it waits for Redis"
    async with up(link):
        uplink.resume()
        assert not uplink.is_idle, "it waits for the others of this turn of the loop"
        await asyncio.sleep(0)
        assert not uplink.is_idle, "it is on its way"
        await until(lambda: uplink.is_idle, "Redis has answered")
        assert [envelope.n for envelope in await worker.takes(KEYS.inbox(WORKER))] == [1]


async def test_uplink_tells_in_whose_dispatch_there_may_be_something(uplink: Uplink, worker: Worker) -> None:
    """P8: it is looked after also when the app is taken out of service, and its manifest is gone."""
    uplink.publish(Origin(), WORKER, event(1, "verb:hook"))
    await worker.takes(KEYS.inbox(WORKER))
    assert uplink.apps == set()
    uplink.publish(Origin(), "", event(2, "verb:hook"))
    await worker.takes(DISPATCH)
    assert uplink.apps == {"default"}


async def test_events_that_come_together_are_packed_for_their_owner_only(uplink: Uplink, worker: Worker) -> None:
    """New calls must not all go to the worker that reads first, nor may an owner choke on an entry."""
    long = Envelope("call-1", 1, 66, "verb:hook", "m66", 0, "gw-1", is_acked=False, body=b"x" * 300_000)
    for number in range(1, 66):
        uplink.publish(Origin(), WORKER, event(number, "verb:hook"))
    for owner, envelope in ((WORKER, long), (WORKER, event(67, "verb:hook")), ("", event(1, "x")), ("", event(2, "x"))):
        uplink.publish(Origin(), owner, envelope)
    await asyncio.sleep(0)
    await until(lambda: uplink.is_idle, "Redis has all")
    assert [await worker.redis.xlen(key) for key in (KEYS.inbox(WORKER), DISPATCH)] == [3, 2]
    assert [envelope.n for envelope in await worker.takes(KEYS.inbox(WORKER), 67)] == list(range(1, 68))
    await worker.takes(DISPATCH, 2)


async def test_event_behind_one_that_redis_has_refused_waits_for_it(uplink: Uplink, worker: Worker) -> None:
    """P2: out of memory for a moment, and back before the refused one is tried again."""
    await worker.redis.set(KEYS.inbox("worker-2"), "refuses every XADD")
    uplink.publish(Origin(), "worker-2", event(1, "verb:hook"))
    await until(lambda: uplink.backlog_bytes > 0, "the event is refused")
    await worker.redis.delete(KEYS.inbox("worker-2"))
    await worker.opens_inbox("worker-2")
    uplink.publish(Origin(), "worker-2", event(2, "verb:hook"))
    assert [envelope.n for envelope in await worker.takes(KEYS.inbox("worker-2"), 2)] == [1, 2]
    assert uplink.is_idle


async def test_full_backlog_costs_no_more_than_an_empty_one(redis_url: str) -> None:
    """64 MiB are 100,000 hooks; looked through for each further one, nothing else would be done (P1)."""
    uplink = Uplink(Link(UrlEndpoint(redis_url)), KEYS, Metrics(), pool=Pool(20_000 * len(BODY), 1))
    origin = Origin()

    def cost_s(first: int, kind: str) -> float:
        before_s = time.process_time()
        for number in range(first, first + 10_000):
            uplink.publish(origin, WORKER, event(number, kind))
        return time.process_time() - before_s

    empty_s = cost_s(1, "verb:hook")
    cost_s(10_001, "verb:hook")
    assert uplink.backlog_bytes == 20_000 * len(BODY)
    assert cost_s(20_001, "verb:hook") < 20 * empty_s
    assert cost_s(30_001, "llm:event") < 20 * empty_s
