"""How a Connection ends: close codes, whom they are told, what is counted and left behind."""

import pytest

from jambonz_gateway.effects import Detach, Forget
from jambonz_gateway.policy import NEVER
from tests.unit.gateway.sessions import (
    CALL,
    LEG,
    START_MS,
    WORKER,
    Bench,
    Published,
    acks,
    counted,
    hook,
    kinds_published,
    message,
    numbers,
    published,
    running_call,
    session_new,
    status,
    with_leg,
)


@pytest.mark.parametrize("code", [pytest.param(1000, id="normal"), pytest.param(1001, id="unusable_answer")])
def test_close_code_of_the_end_ends_the_call(code: int) -> None:
    """Jambonz' own codes: nothing more comes (PROTOCOL.md 1.3)."""
    bench = running_call()
    assert bench.session.closed(code) == [Detach(CALL, 1)]
    effects = bench.session.detached(CALL, 0, START_MS)
    assert published(effects) == [Published(WORKER, CALL, 1, 3, "")]
    assert kinds_published(effects) == ["cluster:ended"]
    assert effects[-1] == Forget(CALL)
    assert bench.session.is_finished


@pytest.mark.parametrize("code", [1005, 1006, 1009, 1011, 1012])
def test_other_close_codes_leave_the_call_its_grace(code: int) -> None:
    """A drop is not an end: jambonz reconnects (pitfall 32). The worker learns that nobody is there for now."""
    bench = running_call()
    assert bench.session.closed(code) == [Detach(CALL, 1)]
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:detached"]
    assert bench.session.is_finished


def test_call_with_another_connection_is_not_ended() -> None:
    """The old socket of a redirected call is closed with 1000 while the call goes on elsewhere."""
    bench = running_call()
    bench.session.closed(1000)
    assert published(bench.session.detached(CALL, 1, START_MS)) == []


@pytest.mark.parametrize(
    ("first", "farewell"),
    [
        pytest.param([message("session:redirect", "r", top=None, hook="ws://x/next")], "detached", id="redirect"),
        pytest.param(
            [message("session:reconnect", "r", sid=None, top=None), hook("m", top=None)], "detached", id="back"
        ),
        pytest.param(
            [message("session:reconnect", "r", sid=None, top=None), status("ringing", top=None)], "ended", id="outbound"
        ),
        pytest.param([message("session:adulting", "r", top=None)], "ended", id="adulting"),
        pytest.param([message("session:reconnect", "r", top=None)], "ended", id="adulting_back"),
        pytest.param([hook("m", top=None)], "ended", id="moved"),
    ],
)
def test_close_of_a_redirect_verbs_socket_leaves_the_end_to_the_first_one(first: list[bytes], farewell: str) -> None:
    """Was that lost meanwhile, jambonz opens it again for the final status, and has closed this one by then."""
    bench = Bench()
    for frame in first:
        bench.hears(frame)
    bench.attached(owner=WORKER, fence=1)
    bench.session.closed(1000)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == [f"cluster:{farewell}"]


def test_any_close_after_the_last_status_ends_the_call() -> None:
    """The feature server may die right behind its last word."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.session.closed(1006)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:ended"]


def test_end_is_published_even_if_redis_has_forgotten_the_call() -> None:
    """A worker may still hold it."""
    bench = running_call()
    bench.session.closed(1000)
    assert kinds_published(bench.session.detached(CALL, -1, START_MS)) == ["cluster:ended"]


def test_nobody_is_told_of_a_drop_of_a_call_that_redis_has_forgotten() -> None:
    """Its grace is over already."""
    bench = running_call()
    bench.session.closed(1006)
    assert published(bench.session.detached(CALL, -1, START_MS)) == []


def test_close_before_the_call_is_attached_waits_for_redis() -> None:
    """P3: the events of the short call are still published, and the Connection leaves again."""
    bench = Bench()
    bench.hears(session_new())
    bench.hears(status("no-answer"))
    assert numbers(bench.session.closed(1000)) == []
    assert bench.session.is_finished is False
    effects = bench.attached()
    assert numbers(effects) == [("", 1), ("", 2)]
    assert effects[-1] == Detach(CALL, 1)
    bench.session.detached(CALL, 0, START_MS)
    assert bench.session.is_finished


def test_drop_before_the_call_is_attached_leaves_no_connection_in_redis() -> None:
    """P8: nobody would detach it, and its gateway would keep the call alive."""
    bench = Bench()
    bench.hears(session_new())
    bench.session.closed(1006)
    assert bench.attached()[-1] == Detach(CALL, 1)


def test_close_of_an_unowned_call_publishes_all_it_held() -> None:
    """Nobody will call again: every event goes to dispatch, in order."""
    bench = Bench()
    bench.hears(session_new())
    bench.attached()
    bench.hears(status("trying"))
    bench.hears(hook("m1"))
    assert numbers(bench.session.closed(1006)) == [("", 2), ("", 3)]


def test_events_returned_after_the_close_are_published_at_once() -> None:
    """There is no next event that would wake them."""
    bench = running_call()
    envelopes = [e.envelope for m in ("m1", "m2") for e in bench.hears(hook(m)) if hasattr(e, "envelope")]
    bench.session.closed(1006)
    assert numbers(bench.session.returned(WORKER, envelopes[0])) == [("", 3)]
    assert numbers(bench.session.returned(WORKER, envelopes[1])) == [("", 4)]


def test_anonymous_connection_that_closes_is_finished_at_once() -> None:
    """It never had a call."""
    bench = Bench()
    assert not bench.session.is_finished
    bench.session.closed(1006)
    assert bench.session.is_finished


def test_hooks_that_die_with_their_socket_are_counted() -> None:
    """Nobody can answer them any more; an operator should see how many."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(hook("m2"))
    effects = bench.session.closed(1006)
    assert counted(effects) == ["hook_died", "hook_died"]
    assert bench.session.owed_count == 0
    assert bench.session.wake_at_s == NEVER
    assert bench.later(10.0) == []


def test_nothing_happens_after_the_close() -> None:
    """Bytes may be left in buffers, words of Redis on their way."""
    bench = running_call()
    bench.session.closed(1006)
    assert bench.session.closed(1006) == []
    assert bench.hears(hook("m1")) == []
    assert bench.left() == []
    assert bench.later(10.0) == []


def test_legs_end_with_the_socket_of_their_parent() -> None:
    """Close 1000 on the parent's socket: no more word will come about them."""
    bench = with_leg(running_call())
    assert bench.session.closed(1000) == [Detach(CALL, 1), Detach(LEG, 1)]
    assert kinds_published(bench.session.detached(LEG, 0, START_MS)) == ["cluster:ended"]
    assert bench.session.is_finished is False
    bench.session.detached(CALL, 0, START_MS)
    assert bench.session.is_finished


def test_close_with_1001_by_ourselves_is_not_the_end() -> None:
    """Jambonz reconnects after it, unlike after its own 1001 (PROTOCOL.md 1.3)."""
    bench = running_call()
    bench.session.closed(1001, by_us=True)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:detached"]


def test_close_with_1000_by_ourselves_is_the_end() -> None:
    """Jambonz discards every later message (pitfall 3): an application that closes so ends its part."""
    bench = running_call()
    bench.session.closed(1000, by_us=True)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:ended"]


def test_reconnect_that_dies_with_its_socket_is_counted() -> None:
    """It was owed an ack like any other hook."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    assert counted(bench.session.closed(1006)) == ["hook_died"]
    assert acks(bench.attached(epoch=2, existed=True, is_acked=True)) == {}


def test_events_that_came_while_a_leg_left_are_published_before_its_end() -> None:
    """P3: a hook between the last status and Redis' answer is no less an event."""
    bench = running_call()
    bench.hears(status("trying", "s1", sid=LEG))
    bench.attached(LEG)
    bench.hears(status("busy", "s2", sid=LEG))
    bench.hears(hook("m1", sid=LEG))
    effects = bench.session.detached(LEG, 0, START_MS)
    assert [event.msgid for event in published(effects)] == ["m1", ""]
