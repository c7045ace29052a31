"""What is dispatched again after a death: order, counting of deaths, quarantine."""

from dataclasses import replace

from jambonz_shared.envelope import Envelope, notice
from jambonz_shared.kinds import TAKEOVER, TRANSFERRED
from jambonz_workers.redelivery import DEATHS_MAX, mark_of, redelivery, undone


def hook(sid: str, n: int, *, deaths: int = 0) -> Envelope:
    return Envelope(sid, 1, n, "verb:hook", f"m{n}", 0, "g", is_acked=False, body=b"{}", deaths=deaths)


def kinds_and_deaths(envelopes: list[Envelope]) -> list[tuple[str, int, int]]:
    return [(one.call_sid, one.n, one.deaths) for one in envelopes]


def test_each_orphan_is_taken_over_before_its_events_run() -> None:
    """It has an owner at once, and background work goes on although no event waits."""
    again = redelivery(["a", "b"], [hook("b", 4), hook("b", 5)], (), 7)
    with_events, without = again.by_call
    assert [one[0].kind for one in again.by_call] == [TAKEOVER, TAKEOVER]
    assert kinds_and_deaths(with_events) == [("b", 0, 0), ("b", 4, 1), ("b", 5, 0)]
    assert kinds_and_deaths(without) == [("a", 0, 0)]
    assert again.quarantined == []


def test_calls_for_which_jambonz_waits_come_first() -> None:
    """Each hook has its deadline; the rest of the work, hundreds of calls perhaps, can wait."""
    acked = replace(hook("b", 1), is_acked=True)
    status = replace(hook("a", 1), kind="call:status")
    early, late = replace(hook("d", 1), received_at_ms=5), replace(hook("c", 1), received_at_ms=9)
    later = replace(hook("d", 2), received_at_ms=12)
    again = redelivery(["a", "b", "c", "d"], [status, acked, late, early, later], (), 7)
    assert [call[0].call_sid for call in again.by_call] == ["d", "c", "a", "b"]


def test_news_of_a_transfer_dies_with_the_worker_it_was_for() -> None:
    """Nobody else has lost that call; and its app may have no worker left to throw the news away."""
    assert undone([notice("a", TRANSFERRED, 0), hook("b", 1)], {}) == [hook("b", 1)]


def test_takeover_that_was_not_done_is_not_doubled() -> None:
    """Otherwise each death would add one; and it is counted, as its handler may be what kills."""
    again = redelivery(["a"], [hook("a", 4), notice("a", TAKEOVER, 0)], (), 7)
    assert kinds_and_deaths(again.envelopes) == [("a", 0, 1), ("a", 4, 1)]


def test_event_behind_an_undone_takeover_is_a_suspect_too() -> None:
    """Nobody knows which of the two ran when the worker died."""
    waiting = [notice("a", TAKEOVER, 0), hook("a", 4)]
    for deaths in range(1, DEATHS_MAX):
        waiting = redelivery(["a"], waiting, {mark_of(one) for one in waiting}, 0).envelopes
        assert kinds_and_deaths(waiting) == [("a", 0, deaths), ("a", 4, deaths)]
    last = redelivery(["a"], waiting, {mark_of(waiting[1])}, 0)
    assert [one.n for one in last.quarantined] == [4]


def test_suspect_that_never_began_is_innocent() -> None:
    """It waited in a worker that something else has killed."""
    guilty, innocent = hook("a", 4, deaths=2), hook("b", 9, deaths=2)
    again = redelivery([], [guilty, innocent], {mark_of(guilty)}, 0)
    assert kinds_and_deaths(again.quarantined) == [("a", 4, 3)]
    assert [one.is_quarantined for one in again.envelopes] == [True, False]
    assert kinds_and_deaths(again.envelopes) == [("a", 4, 3), ("b", 9, 2)]


def test_quarantined_event_is_not_quarantined_again() -> None:
    """The worker that should have acked it died of something else; the next one acks it."""
    [first] = redelivery([], [hook("a", 4, deaths=2)], {mark_of(hook("a", 4))}, 0).envelopes
    again = redelivery([], [first], {mark_of(first)}, 0)
    assert again.envelopes == [first]
    assert again.quarantined == []


def test_what_is_committed_is_neither_done_again_nor_a_suspect() -> None:
    """A gateway packs what comes together; the entry stays until the last of it is done, which may be what kills."""
    packed = [hook("a", 1), hook("a", 3), hook("a", 4), notice("a", TAKEOVER, 0), hook("b", 1)]
    left = undone(packed, {("a", 1): 3})
    assert left == packed[2:]
    assert kinds_and_deaths(redelivery([], left, (), 0).envelopes) == [("a", 0, 1), ("a", 4, 1), ("b", 1, 1)]


def test_oldest_event_is_the_suspect_wherever_it_waits() -> None:
    """A newer one may have come through dispatch, which is read before the inbox."""
    again = redelivery([], [hook("a", 5), hook("a", 4, deaths=1)], {mark_of(hook("a", 4))}, 0)
    assert kinds_and_deaths(again.envelopes) == [("a", 4, 2), ("a", 5, 0)]
