"""The moments that everything done at intervals shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.runtime.rhythm import until_next_s


@given(now_s=st.floats(0, 1e7), every_s=st.sampled_from((0.05, 0.25, 0.5, 2.0)))
def test_all_wait_for_the_same_moments_and_never_half_an_interval_less(now_s: float, every_s: float) -> None:
    """Whenever they begin, they meet; a beat is never more than half an interval late."""
    wait_s = until_next_s(now_s, every_s)
    assert every_s / 2 < wait_s <= every_s * 1.5
    off_s = (now_s + wait_s) % every_s
    assert min(off_s, every_s - off_s) < 1e-6


@pytest.mark.parametrize("early_s", [0.0, 0.0004, 0.002])
def test_timer_that_is_early_does_not_fire_twice_for_one_moment(early_s: float) -> None:
    """Timers of a loop are rounded to milliseconds."""
    assert until_next_s(10.0 - early_s, 0.25) == pytest.approx(0.25 + early_s)
