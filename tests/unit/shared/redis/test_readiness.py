"""What /readyz says of Redis."""

import asyncio

import pytest

from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.errors import LinkDown, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.readiness import Pulse, redis_problem


@pytest.mark.parametrize(
    ("is_up", "silent_s", "is_well"),
    [
        pytest.param(True, 0.3, True, id="answers"),
        pytest.param(True, 2.5, False, id="hangs"),
        pytest.param(False, 0.3, False, id="cut"),
    ],
)
async def test_redis_that_has_answered_lately_is_well(is_up: bool, silent_s: float, is_well: bool) -> None:
    """A load balancer sends no calls to a gateway whose Redis hangs, before its connection is given up."""
    link = Link(UrlEndpoint("redis://127.0.0.1:1/0"))
    link.is_up = is_up
    link.last_reply_at_s = asyncio.get_running_loop().time() - silent_s
    assert redis_problem(link, Pulse()) == (None if is_well else "Redis does not answer")


async def test_redis_that_refuses_the_login_is_no_silence() -> None:
    """Who reads that it does not answer looks at networks, and not at a password."""
    link = Link(UrlEndpoint("redis://127.0.0.1:1/0"))
    link.refusal = "WRONGPASS"
    assert redis_problem(link, Pulse()) == "Redis refuses this process: WRONGPASS"


async def test_redis_that_answers_and_takes_nothing_is_not_well(caplog: pytest.LogCaptureFixture) -> None:
    """Out of memory, a full disk, a replica: no event can be published. Its begin and its end are told once."""
    link, pulse = Link(UrlEndpoint("redis://127.0.0.1:1/0")), Pulse()
    link.is_up = True
    link.last_reply_at_s = asyncio.get_running_loop().time()
    for _ in range(3):
        pulse(ResponseError("MISCONF Errors writing to the AOF file: No space left on device"))
        pulse(LinkDown(sent=True))
    assert redis_problem(link, pulse) == "Redis refuses what is written to it: MISCONF"
    pulse(1)
    assert redis_problem(link, pulse) is None
    words = [record.message for record in caplog.records]
    assert words == ["redis refuses what is written to it", "redis takes what is written to it again"]
