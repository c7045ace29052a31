"""Pauses between tries."""

from jambonz_shared.runtime.backoff import Backoff


def test_pauses_double_up_to_the_limit() -> None:
    """Something broken is tried ever more rarely, but never given up."""
    backoff = Backoff(first_s=0.1, most_s=1.0)
    assert [backoff.pause_s(failures) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_healthy_life_forgives_earlier_failures() -> None:
    """A crash once a day must not lead to long pauses after a month."""
    backoff = Backoff(healthy_s=30.0)
    assert backoff.failures_after(7, lived_s=29.9) == 8
    assert backoff.failures_after(7, lived_s=30.0) == 1
