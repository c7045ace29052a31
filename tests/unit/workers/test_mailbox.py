"""The mailbox: order within an epoch, each event once, one at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.envelope import Envelope
from jambonz_workers.delivery import Delivery, Entry, Source
from jambonz_workers.mailbox import FIRST_GAP_S, GAP_S, Mailbox


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
