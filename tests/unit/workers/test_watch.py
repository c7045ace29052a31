"""Who is declared dead, by whom, and when nobody is."""

import pytest

from jambonz_workers.watch import ZEROS_OF_DEATH, Watch

LEASE_S = 2.0


@pytest.fixture
def watch() -> Watch:
    """One that may judge from second 2 on."""
    watch = Watch("w1", LEASE_S)
    watch.link_up(0.0)
    return watch


def test_broken_subscription_is_a_death_at_the_third_poll(watch: Watch) -> None:
    """A worker that only resubscribes is back before."""
    watch.subscribers({"w2": 1})
    found = [watch.subscribers({"w2": 0}) for _ in range(ZEROS_OF_DEATH)]
    assert found == [[]] * (ZEROS_OF_DEATH - 1) + [["w2"]]


def test_resubscription_starts_the_count_anew(watch: Watch) -> None:
    """Two lost connections are no death."""
    for count in (1, 0, 0, 1, 0, 0):
        assert watch.subscribers({"w2": count}) == []


def test_peer_never_seen_subscribed_is_not_judged_by_it(watch: Watch) -> None:
    """It may be starting; its heartbeat tells."""
    assert all(watch.subscribers({"w2": 0}) == [] for _ in range(10))


def test_heartbeat_older_than_the_lease_is_a_death(watch: Watch) -> None:
    """At the lease itself it still lives."""
    assert watch.overdue(10_000, {"w2": 7_999, "w3": 8_000}) == ["w2"]


def test_nobody_is_judged_for_a_lease_after_the_link_came_up(watch: Watch) -> None:
    """After Redis was away all heartbeats are old."""
    assert watch.judge(1.9, ["w2"]) == []
    assert watch.judge(2.0, ["w2"]) == ["w2"]
    watch.link_down()
    assert watch.judge(100.0, ["w2"]) == []
    watch.link_up(100.0)
    assert watch.judge(101.9, ["w2"]) == []


@pytest.mark.parametrize("beat_ms", [None, 8_999], ids=["missing", "late"])
def test_who_cannot_beat_itself_judges_nobody(watch: Watch, beat_ms: int | None) -> None:
    """A Redis that takes no writes makes everybody look dead; two that adopt each other would harm all calls."""
    watch.own_heartbeat(5.0, 10_000, beat_ms)
    assert watch.judge(6.9, ["w2"]) == []
    watch.own_heartbeat(6.9, 12_000, 11_900)
    assert watch.judge(7.0, ["w2"]) == ["w2"]


def test_nobody_judges_itself(watch: Watch) -> None:
    """A worker that hung learns of it from others."""
    assert watch.judge(3.0, ["w1"]) == []


def test_each_asks_about_the_two_that_follow_in_the_ring() -> None:
    """So each is asked about by two, whatever their number."""
    peers = [f"w{number}" for number in range(5)]
    assert Watch("w3", LEASE_S).neighbours(peers) == ["w4", "w0"]
    assert Watch("w0", LEASE_S).neighbours(["w0"]) == []


def test_forgotten_peer_must_be_seen_subscribed_again(watch: Watch) -> None:
    """It has left in peace or has been adopted."""
    watch.subscribers({"w2": 1})
    watch.forget("w2")
    assert all(watch.subscribers({"w2": 0}) == [] for _ in range(10))
