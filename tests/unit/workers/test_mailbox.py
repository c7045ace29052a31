"""The mailbox: order within an epoch, each event once, one at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.envelope import Envelope
from jambonz_shared.kinds import DETACHED, ENDED, TIMER
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.mailbox import EVENT_BYTES, FIRST_GAP_S, GAP_S, Load, Mailbox


def delivery(n: int, epoch: int = 1) -> Delivery:
    envelope = Envelope("c1", epoch, n, "verb:hook", f"m{epoch}-{n}", 0, "g1", is_acked=False, body=b"{}")
    return Delivery(envelope, Entry(Source.INBOX, b"1-0", 1))


def taken(mailbox: Mailbox, now_s: float = 0.0) -> list[tuple[int, int]]:
    """Take and finish all that may run."""
    numbers = []
    while (found := mailbox.take(now_s)) is not None:
        numbers.append((found.envelope.epoch, found.envelope.n))
        mailbox.finish()
    return numbers


def begun() -> Mailbox:
    """Return a mailbox that has handed out the first event of epoch 1."""
    mailbox = Mailbox()
    mailbox.put(delivery(1), 0.0)
    assert taken(mailbox) == [(1, 1)]
    return mailbox


def test_events_run_in_the_order_of_their_numbers() -> None:
    """They may overtake each other on the way through dispatch and inboxes."""
    mailbox = Mailbox()
    for n in (3, 1, 2):
        assert mailbox.put(delivery(n), 0.0)
    assert taken(mailbox) == [(1, 1), (1, 2), (1, 3)]


def test_one_event_runs_at_a_time() -> None:
    """Handlers of a call need no locks."""
    mailbox = Mailbox()
    mailbox.put(delivery(1), 0.0)
    mailbox.put(delivery(2), 0.0)
    assert mailbox.is_ready
    mailbox.take(0.0)
    assert (mailbox.is_running, mailbox.is_ready, mailbox.take(0.0)) == (True, False, None)
    mailbox.finish()
    assert taken(mailbox) == [(1, 2)]


def test_an_event_committed_before_the_claim_is_a_duplicate() -> None:
    """The former owner committed it and died before it deleted the entry."""
    mailbox = Mailbox({1: 2})
    assert not mailbox.put(delivery(2), 0.0)
    assert mailbox.put(delivery(3), 0.0)
    assert taken(mailbox) == [(1, 3)]


def test_an_event_that_waits_or_ran_is_a_duplicate() -> None:
    """A gateway repeats what it does not know to have arrived."""
    mailbox = Mailbox()
    assert mailbox.put(delivery(2), 0.0)
    assert not mailbox.put(delivery(2), 0.0)
    assert mailbox.put(delivery(1), 0.0)
    assert taken(mailbox) == [(1, 1), (1, 2)]
    assert not mailbox.put(delivery(1), 0.0)


def test_a_gap_is_waited_for() -> None:
    """The missing event takes the long way; it must still run first."""
    mailbox = begun()
    mailbox.put(delivery(3), 10.0)
    assert mailbox.wake_at_s() == 10.0 + GAP_S
    assert taken(mailbox, 10.0 + GAP_S / 2) == []
    mailbox.put(delivery(2), 10.0 + GAP_S / 2)
    assert taken(mailbox, 10.0 + GAP_S / 2) == [(1, 2), (1, 3)]
    assert mailbox.wake_at_s() is None
    assert mailbox.gaps == 0


def test_a_gap_before_the_first_event_is_waited_for_until_a_death_is_found_out() -> None:
    """A worker that had taken the missing ones from dispatch may have died with them."""
    mailbox = Mailbox({1: 4})
    mailbox.put(delivery(7), 10.0)
    assert mailbox.wake_at_s() == 10.0 + FIRST_GAP_S
    assert taken(mailbox, 10.0 + GAP_S) == []
    mailbox.put(delivery(5), 12.4)
    mailbox.put(delivery(6), 12.4)
    assert taken(mailbox, 12.4) == [(1, 5), (1, 6), (1, 7)]
    mailbox.put(delivery(9), 20.0)
    assert mailbox.wake_at_s() == 20.0 + GAP_S


@pytest.mark.parametrize("epochs", [(2, 3), (3, 2)], ids=["in_order", "the_other_way_round"])
def test_the_gap_that_ends_first_is_woken_for(epochs: tuple[int, int]) -> None:
    """It may have begun later than another one, or be of an older epoch."""
    mailbox = Mailbox()
    for epoch in epochs:
        mailbox.put(delivery(2, epoch=epoch), 10.0 + epoch)
    assert mailbox.wake_at_s() == 12.0 + FIRST_GAP_S


def test_a_gap_between_events_ends_before_one_in_front_of_the_first() -> None:
    """The shorter time counts, although it began later."""
    mailbox = begun()
    mailbox.put(delivery(2, epoch=2), 10.0)
    mailbox.put(delivery(3), 11.0)
    assert mailbox.wake_at_s() == 11.0 + GAP_S
    assert taken(mailbox, 11.0 + GAP_S) == [(1, 3)]
    assert mailbox.wake_at_s() == 10.0 + FIRST_GAP_S


def test_a_gap_that_lasts_too_long_is_skipped_with_a_counter() -> None:
    """A lost event must not silence a call."""
    mailbox = begun()
    mailbox.put(delivery(5), 10.0)
    mailbox.put(delivery(6), 10.9)
    assert taken(mailbox, 10.0 + GAP_S) == [(1, 5), (1, 6)]
    assert mailbox.gaps == 3
    assert not mailbox.put(delivery(3), 12.0)


def test_a_gap_behind_the_running_event_is_waited_for_from_then_on() -> None:
    """The clock of a gap starts when it holds something up."""
    mailbox = Mailbox()
    mailbox.put(delivery(1), 0.0)
    mailbox.put(delivery(3), 0.0)
    assert taken(mailbox, 5.0) == [(1, 1)]
    assert mailbox.wake_at_s() == 5.0 + GAP_S


def test_only_a_connection_with_a_gap_is_waited_for() -> None:
    """The other one has nothing that waits."""
    mailbox = Mailbox()
    mailbox.put(delivery(1), 0.0)
    assert taken(mailbox, 0.0) == [(1, 1)]
    mailbox.put(delivery(2, epoch=2), 7.0)
    assert mailbox.wake_at_s() == 7.0 + FIRST_GAP_S


def test_epochs_run_in_the_order_of_arrival() -> None:
    """A gap in the old Connection must not hold up the new one."""
    mailbox = Mailbox()
    mailbox.put(delivery(1, epoch=2), 0.0)
    mailbox.put(delivery(1, epoch=1), 0.0)
    mailbox.put(delivery(3, epoch=1), 0.0)
    mailbox.put(delivery(2, epoch=2), 0.0)
    assert taken(mailbox) == [(2, 1), (1, 1), (2, 2)]


def test_envelopes_without_a_number_keep_their_order_and_are_never_duplicates() -> None:
    """Kinds of our own may have none."""
    mailbox = Mailbox()
    assert mailbox.put(delivery(0), 0.0)
    assert mailbox.put(delivery(1), 0.0)
    assert mailbox.put(delivery(0), 0.0)
    assert taken(mailbox) == [(1, 0), (1, 1), (1, 0)]
    assert mailbox.put(delivery(0), 0.0)
    assert taken(mailbox) == [(1, 0)]


def test_what_waits_can_be_taken_back_in_order() -> None:
    """A worker that gives up a call hands on what it has not done."""
    mailbox = Mailbox()
    for n in (2, 4, 3):
        mailbox.put(delivery(n), 0.0)
    assert [it.envelope.n for it in mailbox.undone()] == [2, 4, 3]
    assert mailbox.undone() == []
    assert mailbox.take(100.0) is None


@given(st.permutations(list(range(1, 9))), st.lists(st.integers(1, 8)))
def test_any_arrival_runs_each_event_once_in_order(order: list[int], repeats: list[int]) -> None:
    """P2 and P3 for one call, whatever Redis and the gateways do."""
    mailbox = Mailbox()
    ran: list[tuple[int, int]] = []
    for n in [*order, *repeats]:
        mailbox.put(delivery(n), 0.0)
        ran += taken(mailbox)
    assert ran == [(1, n) for n in range(1, 9)]


ALL_BYTES = 1 << 30


def sized(n: int, kind: str = "verb:status", epoch: int = 1, size_bytes: int = 100) -> Delivery:
    envelope = Envelope("c1", epoch, n, kind, "", 0, "g1", is_acked=False, body=bytes(size_bytes))
    return Delivery(envelope, Entry(Source.INBOX, b"1-0", 1))


def busy(*deliveries: Delivery, load: Load | None = None) -> Mailbox:
    """Return a mailbox whose first event runs while others wait."""
    mailbox = Mailbox(load=load)
    mailbox.put(delivery(1), 0.0)
    assert mailbox.take(0.0)
    for it in deliveries:
        assert mailbox.put(it, 0.0)
    return mailbox


def test_the_older_half_is_shed_and_the_newer_one_runs_at_once_and_in_order() -> None:
    """Nobody is waited for who does not come any more."""
    mailbox = busy(*(sized(n) for n in range(2, 10)))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2, 3, 4, 5]
    mailbox.finish()
    assert mailbox.wake_at_s() is None
    assert taken(mailbox) == [(1, 6), (1, 7), (1, 8), (1, 9)]
    assert mailbox.gaps == 0


def test_half_of_what_waits_is_half_of_its_bytes() -> None:
    """One large event is worth many small ones."""
    mailbox = busy(sized(2, size_bytes=50_000), *(sized(n) for n in range(3, 10)))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2]


def test_no_more_is_shed_than_at_one_go() -> None:
    """Others have to wait meanwhile."""
    mailbox = busy(*(sized(n) for n in range(2, 10)))
    assert [it.envelope.n for it in mailbox.shed(2 * (EVENT_BYTES + 100), 0.0)] == [2, 3]
    mailbox.finish()
    assert taken(mailbox) == [(1, n) for n in range(4, 10)]


def test_what_was_shed_does_not_run_when_it_comes_again() -> None:
    """Its gateway repeats what it does not know to have arrived."""
    mailbox = busy(sized(2), sized(3))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2]
    assert not mailbox.put(sized(2), 0.0)
    mailbox.finish()
    assert taken(mailbox) == [(1, 3)]
    assert not mailbox.put(sized(2), 0.0)


def test_events_of_older_connections_are_shed_first() -> None:
    """A call that has reconnected begins with what came last."""
    mailbox = busy(sized(2), sized(1, epoch=2), sized(3), sized(2, epoch=2))
    assert [(it.envelope.epoch, it.envelope.n) for it in mailbox.shed(ALL_BYTES, 0.0)] == [(1, 2), (1, 3)]
    mailbox.finish()
    assert taken(mailbox) == [(2, 1), (2, 2)]


def test_the_lowest_numbers_are_shed_whenever_they_come() -> None:
    """The events that another worker hands on come behind newer ones, whose loss would be that of all before them."""
    mailbox = busy(sized(5, "verb:hook"), sized(2), sized(3), sized(4))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2, 3]
    mailbox.finish()
    assert taken(mailbox) == [(1, 4), (1, 5)]


def test_a_number_that_is_missing_before_those_that_were_shed_is_given_up_with_them() -> None:
    """They were newer, and are gone already."""
    mailbox = begun()
    for n in range(4, 8):
        mailbox.put(sized(n), 10.0)
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 10.1)] == [4, 5]
    assert not mailbox.put(sized(2), 10.2)
    assert taken(mailbox, 10.2) == [(1, 6), (1, 7)]


def test_a_number_that_is_missing_behind_those_that_were_shed_is_waited_for() -> None:
    """It takes the long way and is as new as those that stayed."""
    mailbox = busy(sized(2), sized(3), sized(5), sized(6))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2, 3]
    mailbox.finish()
    assert taken(mailbox, 0.5) == []
    assert mailbox.wake_at_s() == GAP_S
    assert mailbox.put(sized(4), 0.5)
    assert taken(mailbox, 0.5) == [(1, 4), (1, 5), (1, 6)]


def test_all_that_waits_may_be_shed() -> None:
    """Many calls with one event each may be too much, too; what comes next is not held up."""
    mailbox = busy(sized(2))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2]
    assert mailbox.shed(ALL_BYTES, 0.0) == []
    mailbox.finish()
    assert (mailbox.is_ready, mailbox.wake_at_s(), mailbox.take(5.0)) == (False, None, None)
    mailbox.put(sized(3), 7.0)
    assert taken(mailbox, 7.0) == [(1, 3)]


@pytest.mark.parametrize(
    "kind", ["session:new", "session:redirect", "session:reconnect", "session:adulting", "call:status", ENDED, TIMER]
)
def test_what_belongs_to_the_life_of_a_call_stays_while_others_make_up_a_half(kind: str) -> None:
    """Without it a call would not begin, or never end."""
    mailbox = busy(sized(2, kind), *(sized(n) for n in range(3, 10)))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [3, 4, 5, 6]
    mailbox.finish()
    assert taken(mailbox) == [(1, 2), (1, 7), (1, 8), (1, 9)]


def test_a_peer_that_sends_nothing_but_the_life_of_calls_loses_that_too() -> None:
    """Otherwise it would fill the worker with it. Its call ends all the same, by the notice of its gateway."""
    mailbox = busy(*(sized(n, "session:new") for n in range(2, 6)), sized(0, ENDED))
    assert [it.envelope.n for it in mailbox.shed(ALL_BYTES, 0.0)] == [2, 3, 4]
    mailbox.finish()
    assert taken(mailbox) == [(1, 5), (1, 0)]


def test_of_our_own_notices_timers_and_the_newest_of_each_kind_stay() -> None:
    """A peer that comes and goes makes one each time, but only the last counts; a timer is the application's."""
    mailbox = busy(*(sized(0, kind) for kind in (TIMER, ENDED, DETACHED, TIMER, ENDED, DETACHED)))
    assert [it.envelope.kind for it in mailbox.shed(ALL_BYTES, 0.0)] == [ENDED, DETACHED]
    assert mailbox.shed(ALL_BYTES, 0.0) == []
    assert [it.envelope.kind for it in mailbox.undone()] == [TIMER, TIMER, ENDED, DETACHED]


def test_what_waits_is_counted_until_it_runs_or_is_let_go() -> None:
    """Bodies, and what each event takes besides; several mailboxes count together."""
    load = Load()
    one, other = busy(sized(2), sized(3), load=load), busy(sized(2), load=load)
    assert (one.waiting_bytes, load.waiting_bytes) == (2 * (EVENT_BYTES + 100), 3 * (EVENT_BYTES + 100))
    one.finish()
    one.take(0.0)
    other.undone()
    assert (one.waiting_bytes, other.waiting_bytes, load.waiting_bytes) == (EVENT_BYTES + 100, 0, EVENT_BYTES + 100)


@given(st.permutations(list(range(1, 13))), st.lists(st.sampled_from(["take", "shed", "put"]), max_size=30))
def test_whatever_is_shed_each_event_runs_once_or_never_and_in_order(order: list[int], steps: list[str]) -> None:
    """P2; and in the end nothing is left that counts."""
    load, coming = Load(), list(order)
    mailbox = Mailbox(load=load)
    ran: list[int] = []
    lost: list[int] = []
    now_s = 0.0
    for step in [*steps, *["put"] * len(order), *["take"] * 2 * len(order)]:
        now_s += FIRST_GAP_S
        if step == "put" and coming:
            mailbox.put(sized(coming.pop()), now_s)
        elif step == "shed":
            lost += [it.envelope.n for it in mailbox.shed(ALL_BYTES, now_s)]
        elif step == "take" and (found := mailbox.take(now_s)):
            ran.append(found.envelope.n)
            mailbox.finish()
    assert ran == sorted(set(ran))
    assert not set(ran) & set(lost)
    assert (load.waiting_bytes, mailbox.wake_at_s()) == (0, None)
