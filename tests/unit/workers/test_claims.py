"""What a worker tells Redis of a call that it wants, does not get, or lets go."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.redis.scripts import Claimed, Gone, OtherApp, OwnedBy
from jambonz_workers.claims import ClaimAnswer, Claims
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.outbox import Outbox
from jambonz_workers.recovery import Recovery
from jambonz_workers.terms import Terms
from tests.conditions import until

OWNED = "jc:owned:{w1}"


class OutboxDouble:
    """Keeps what is sent; the test answers the claims."""

    link = SimpleNamespace(is_young=False)

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []
        self.claims: list[Callable[[Any], None]] = []

    def send(self, on_answer: object, *args: object) -> None:
        self.sent.append(args)

    def script(
        self, on_answer: Callable[[Any], None], which: object, keys: Sequence[object], args: Sequence[object]
    ) -> None:
        assert which is script.CLAIM
        self.claims.append(on_answer)
        self.sent.append(("claim", *keys, *args))


class Office:
    """Asks for calls; ``answers`` is what it was told."""

    def __init__(self, *, may_come_back: bool = False) -> None:
        self.outbox = OutboxDouble()
        self.metrics = WorkerMetrics()
        self.recovery = SimpleNamespace(may_come_back=may_come_back)
        self.answers: list[tuple[str, ClaimAnswer]] = []
        terms = Terms("w1", "ivr", Keys("jc:"), 1000, 1.0, self.metrics, lambda: None)
        self.claims = Claims(
            terms, cast("Outbox", self.outbox), cast("Recovery", self.recovery), lambda *told: self.answers.append(told)
        )

    def counted(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("jambonz_worker_claims_total", {"result": result})


async def test_adopters_find_a_call_before_it_is_claimed() -> None:
    """A worker that dies in between owns nothing that nobody knows of; the set that the first call makes expires."""
    office = Office()
    office.claims.claim("c1", is_first=True)
    office.claims.claim("c2", is_first=False)
    claim = ("claim", "jc:call:{c2}", "jc:chan:{c2}", "w1", 0, "ivr")
    assert [args[0] for args in office.outbox.sent[:3]] == [b"SADD", b"PEXPIRE", "claim"]
    assert office.outbox.sent[3:] == [(b"SADD", OWNED, "c2"), claim]


@pytest.mark.parametrize(
    ("reply", "answer", "result"),
    [
        pytest.param([b"owned", b"w2"], OwnedBy("w2"), "owned", id="another_worker_has_it"),
        pytest.param([b"app", b"shop"], OtherApp("shop"), "app", id="another_app_has_it"),
        pytest.param([b"gone"], Gone(), "gone", id="it_is_over"),
        pytest.param(ResponseError("WRONGTYPE ..."), Gone(), "gone", id="redis_refuses"),
    ],
)
async def test_a_call_that_is_not_to_be_had_is_struck_out(reply: object, answer: ClaimAnswer, result: str) -> None:
    """Who adopts this worker must not look for calls that are not its own."""
    office = Office()
    office.claims.claim("c1", is_first=False)
    office.outbox.claims[0](reply)
    assert office.outbox.sent[2:] == [(b"SREM", OWNED, "c1")]
    assert (office.answers, office.counted(result)) == ([("c1", answer)], 1)


async def test_a_claimed_call_stays_written_down() -> None:
    """With its fence and what is known of it for the one who asked."""
    office = Office()
    office.claims.claim("c1", is_first=False)
    office.outbox.claims[0]([b"ok", 7, b"app", b"ivr"])
    ((_, answer),) = office.answers
    assert isinstance(answer, Claimed)
    assert (answer.fence, answer.record.app, office.counted("ok"), len(office.outbox.sent)) == (7, "ivr", 1, 2)


async def test_a_call_that_may_come_back_is_claimed_again() -> None:
    """Redis came back empty, and the call's gateway has not attached it yet."""
    office = Office(may_come_back=True)
    office.claims.claim("c1", is_first=False)
    office.outbox.claims[0]([b"gone"])
    assert (office.answers, office.counted("gone")) == ([], None)
    await until(lambda: len(office.outbox.claims) == 2, "it is claimed again")
    assert [args[0] for args in office.outbox.sent[2:]] == [b"SADD", b"PEXPIRE", "claim"]
    office.outbox.claims[1]([b"ok", 7])
    assert [sid for sid, _ in office.answers] == ["c1"]
