"""The dispatcher: what becomes of each envelope, by who owns its call."""

from dataclasses import replace

import pytest

from jambonz_shared.envelope import Envelope
from jambonz_shared.kinds import DETACHED, TAKEOVER, TIMER, TRANSFERRED
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.dispatcher import Claim, Dispatcher, Effect, Forward, Overhear, Ready, Settle, Shed, Wait
from jambonz_workers.mailbox import EVENT_BYTES, FIRST_GAP_S, GAP_S


def delivery(n: int, call_sid: str = "c1", epoch: int = 1) -> Delivery:
    envelope = Envelope(call_sid, epoch, n, "verb:hook", f"m{n}", 0, "g1", is_acked=False, body=b"{}")
    return Delivery(envelope, Entry(Source.INBOX, b"1-0", 1))


def owning(*call_sids: str, capacity: int = 10) -> Dispatcher:
    dispatcher = Dispatcher(capacity)
    for call_sid in call_sids:
        dispatcher.receive(delivery(1, call_sid), 0.0)
        dispatcher.claimed(call_sid, {}, 0.0)
        mailbox = dispatcher.mailbox(call_sid)
        assert mailbox is not None
        mailbox.take(0.0)
        mailbox.finish()
    return dispatcher


def taken(dispatcher: Dispatcher) -> Delivery | None:
    """Return what may run of the call now."""
    mailbox = dispatcher.mailbox("c1")
    return mailbox.take(0.0) if mailbox else None


def test_the_first_event_of_a_call_makes_a_claim() -> None:
    """Nothing of a call may run before it is ours."""
    dispatcher = Dispatcher(10)
    assert dispatcher.receive(delivery(1), 0.0) == [Claim("c1")]
    assert dispatcher.receive(delivery(2), 0.0) == []
    assert taken(dispatcher) is None


def test_events_wait_for_their_claim() -> None:
    """One claim serves all that came meanwhile; those done before are settled."""
    dispatcher = Dispatcher(10)
    done, first, second = delivery(1), delivery(2), delivery(3)
    for it in (done, second, first):
        dispatcher.receive(it, 0.0)
    assert dispatcher.claimed("c1", {1: 1}, 0.0) == [Settle(done, "duplicate"), Ready("c1")]
    assert taken(dispatcher) is first


def test_a_claim_that_brings_nothing_to_do_is_quiet() -> None:
    """The only event of a claim may be a duplicate, or wait for one before it."""
    dispatcher = Dispatcher(10)
    waits = delivery(2)
    dispatcher.receive(waits, 5.0)
    assert dispatcher.claimed("c1", {}, 5.0) == [Wait("c1", 5.0 + FIRST_GAP_S)]


def test_an_event_of_an_owned_call_makes_it_ready() -> None:
    """It is told once: while an event runs, the runner looks for more by itself."""
    dispatcher = owning("c1")
    assert dispatcher.receive(delivery(2), 0.0) == [Ready("c1")]
    assert taken(dispatcher) is not None
    assert dispatcher.receive(delivery(3), 0.0) == []


def test_an_event_that_came_twice_is_settled() -> None:
    """Its entry must go, or it would stay in Redis for ever."""
    dispatcher = owning("c1")
    again = delivery(1)
    assert dispatcher.receive(again, 0.0) == [Settle(again, "duplicate")]


def test_a_call_of_another_worker_is_forwarded_in_order() -> None:
    """Its events were on their way when it changed hands."""
    dispatcher = Dispatcher(10)
    first, second = delivery(1), delivery(2)
    dispatcher.receive(first, 0.0)
    dispatcher.receive(second, 0.0)
    assert dispatcher.is_elsewhere("c1", "w2") == [Forward("w2", first), Forward("w2", second)]
    assert dispatcher.count == 0


def test_events_of_a_call_that_is_over_are_settled() -> None:
    """Nobody needs them any more."""
    dispatcher = owning("c1")
    late = delivery(2)
    dispatcher.receive(late, 0.0)
    assert dispatcher.gone("c1") == [Settle(late, "gone")]
    assert dispatcher.calls == []


def test_a_lost_call_takes_its_waiting_events_with_it() -> None:
    """The new owner gets them; here nothing of the call is left."""
    dispatcher = owning("c1")
    late = delivery(2)
    dispatcher.receive(late, 0.0)
    assert dispatcher.lost("c1", "w2") == [Forward("w2", late)]
    assert taken(dispatcher) is None
    assert dispatcher.mailbox("c1") is None


def test_credits_are_the_room_that_is_left() -> None:
    """Claims under way count, so that a burst does not overfill the worker."""
    dispatcher = owning("c1", capacity=3)
    assert dispatcher.credits == 2
    dispatcher.receive(delivery(1, "c2"), 0.0)
    assert (dispatcher.credits, dispatcher.count) == (1, 2)
    # The inbox may bring more than there is room for, such as the legs of a dial.
    dispatcher.receive(delivery(1, "c3"), 0.0)
    dispatcher.receive(delivery(1, "c4"), 0.0)
    assert dispatcher.credits == 0


def test_a_draining_worker_takes_no_new_call() -> None:
    """It goes on with those it owns."""
    dispatcher = owning("c1")
    dispatcher.is_draining = True
    new, old = delivery(1, "c2"), delivery(2, "c1")
    effects: list[Effect] = [*dispatcher.receive(new, 0.0), *dispatcher.receive(old, 0.0)]
    assert effects == [Forward("", new), Ready("c1")]
    assert dispatcher.credits == 0


def test_an_entry_is_deleted_with_its_last_envelope() -> None:
    """One entry may carry the events of many calls."""
    entry = Entry(Source.DISPATCH, b"7-0", 2)
    first, second = (Delivery(delivery(n).envelope, entry) for n in (1, 2))
    assert not first.settle()
    assert not first.settle()
    assert second.settle()


def test_an_overheard_event_is_told_at_once_and_handled_in_its_turn() -> None:
    """A speech that runs must hear of an interruption although its call's handler is busy."""
    dispatcher = Dispatcher(10, {"verb:hook"})
    first, second = delivery(1), delivery(2)
    dispatcher.receive(first, 0.0)
    assert dispatcher.claimed("c1", {}, 0.0) == [Overhear(first), Ready("c1")]
    assert taken(dispatcher) is first
    assert dispatcher.receive(second, 0.0) == [Overhear(second)]
    twin = delivery(2)
    assert dispatcher.receive(twin, 0.0) == [Settle(twin, "duplicate")]
    mailbox = dispatcher.mailbox("c1")
    assert mailbox is not None
    mailbox.finish()
    assert taken(dispatcher) is second


@pytest.mark.parametrize("is_owned", [True, False], ids=["transferred", "claimed_in_vain"])
def test_events_of_a_call_of_another_app_go_there(is_owned: bool) -> None:
    """In order; what only means something to this app does not."""
    dispatcher = owning("c1") if is_owned else Dispatcher(10)
    event = delivery(2)
    kinds = (TAKEOVER, TIMER, TRANSFERRED, DETACHED)
    notices = [replace(event, envelope=replace(event.envelope, kind=kind, epoch=0, n=0)) for kind in kinds]
    for one in (*notices, event):
        dispatcher.receive(one, 0.0)
    effects = dispatcher.transferred("c1", "sales") if is_owned else dispatcher.is_foreign("c1", "sales")
    *ours, detached = notices
    assert {(it.delivery.envelope.kind, it.reason) for it in effects if isinstance(it, Settle)} == {
        (it.envelope.kind, "transferred") for it in ours
    }
    assert [it for it in effects if isinstance(it, Forward)] == [
        Forward("", detached, "sales"),
        Forward("", event, "sales"),
    ]
    assert dispatcher.count == 0


LIMIT_BYTES = 10 * (EVENT_BYTES + 100)


def status(n: int, call_sid: str) -> Delivery:
    envelope = Envelope(call_sid, 1, n, "verb:status", "", 0, "g1", is_acked=False, body=bytes(100))
    return Delivery(envelope, Entry(Source.INBOX, b"1-0", 1))


def crowded(*call_sids: str) -> Dispatcher:
    """Return a dispatcher that owns these calls, has room for ten events, and whose handlers are all busy."""
    dispatcher = Dispatcher(10, {"call:status"}, LIMIT_BYTES)
    for call_sid in call_sids:
        dispatcher.receive(delivery(1, call_sid), 0.0)
        dispatcher.claimed(call_sid, {}, 0.0)
        mailbox = dispatcher.mailbox(call_sid)
        assert mailbox is not None
        assert mailbox.take(0.0)
    return dispatcher


def test_when_too_much_waits_the_call_that_holds_the_most_loses_the_older_half() -> None:
    """No peer may fill a worker, and none of the others pays for one that tries."""
    dispatcher = crowded("quiet", "loud")
    effects: list[Effect] = []
    for n in range(2, 5):
        effects += dispatcher.receive(status(n, "quiet"), 0.0)
    loud = [status(n, "loud") for n in range(2, 9)]
    for it in loud:
        effects += dispatcher.receive(it, 0.0)
    assert effects == []
    assert dispatcher.load.waiting_bytes == LIMIT_BYTES
    assert dispatcher.receive(status(5, "quiet"), 0.0) == [Shed("loud", loud[:4])]
    assert dispatcher.load.waiting_bytes == 7 * LIMIT_BYTES // 10


def test_calls_that_hold_alike_pay_until_there_is_room() -> None:
    """One half is not enough when what comes is large."""
    dispatcher = crowded("a", "b", "c")
    for call_sid in ("a", "b"):
        for n in range(2, 7):
            assert dispatcher.receive(status(n, call_sid), 0.0) == []
    large = status(2, "c")
    large.envelope = replace(large.envelope, body=bytes(5 * (EVENT_BYTES + 100) - EVENT_BYTES - 1))
    (first, second) = dispatcher.receive(large, 0.0)
    assert isinstance(first, Shed)
    assert isinstance(second, Shed)
    assert ({first.call_sid, second.call_sid}, len(first.deliveries)) == ({"a", "b"}, 3)
    assert dispatcher.load.waiting_bytes <= LIMIT_BYTES


def test_a_call_that_may_lose_nothing_leaves_it_to_the_next_one() -> None:
    """Timers are the application's own, however many."""
    dispatcher = crowded("patient", "loud")
    for number in range(10):
        timer = status(0, "patient")
        timer.envelope = replace(timer.envelope, kind=TIMER, msgid=f"{number}")
        assert dispatcher.receive(timer, 0.0) == []
    told = status(2, "loud")
    assert dispatcher.receive(told, 0.0) == [Shed("loud", [told])]
    assert dispatcher.load.waiting_bytes == LIMIT_BYTES


def test_an_event_that_is_shed_at_once_is_overheard_all_the_same() -> None:
    """What runs for the call may wait for just that."""
    dispatcher = crowded("loud")
    told = status(2, "loud")
    told.envelope = replace(told.envelope, kind="call:status", body=bytes(LIMIT_BYTES))
    assert dispatcher.receive(told, 0.0) == [Shed("loud", [told]), Overhear(told)]


def test_a_call_that_waited_for_a_number_given_up_with_what_was_shed_goes_on() -> None:
    """Nothing else would wake it before the gap is over."""
    dispatcher = crowded("loud")
    mailbox = dispatcher.mailbox("loud")
    assert mailbox is not None
    mailbox.finish()
    loud = [status(n, "loud") for n in range(3, 14)]
    for it in loud[:-1]:
        assert dispatcher.receive(it, 0.0) == [Wait("loud", GAP_S)]
    assert dispatcher.receive(loud[-1], 0.0) == [Shed("loud", loud[:6]), Ready("loud"), Ready("loud")]


def test_what_waited_for_a_claim_is_shed_when_it_is_too_much() -> None:
    """A call that is adopted may bring all that its former owner did not handle."""
    dispatcher = crowded()
    first, *loud = [status(n, "loud") for n in range(1, 13)]
    for it in (first, *loud):
        dispatcher.receive(it, 0.0)
    effects = dispatcher.claimed("loud", {}, 0.0)
    assert effects == [Shed("loud", [first, *loud[:5]]), Ready("loud")]
    assert dispatcher.load.waiting_bytes <= LIMIT_BYTES


def test_calls_that_are_let_go_make_room() -> None:
    """Their events wait elsewhere now."""
    dispatcher = crowded("c1")
    dispatcher.receive(status(2, "c1"), 0.0)
    dispatcher.lost("c1", "w2")
    assert dispatcher.load.waiting_bytes == 0
