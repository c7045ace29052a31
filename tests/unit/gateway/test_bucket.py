"""How long a peer that talks too much is not listened to."""

import pytest

from jambonz_gateway.bucket import Bucket


def test_burst_is_taken_at_once() -> None:
    """An LLM and a token stream talk in bursts; that is no flood."""
    bucket = Bucket(rate=10, burst=100, now_s=0.0)
    assert [bucket.take(0.0) for _ in range(100)] == [0.0] * 100


def test_flood_waits_as_long_as_its_rate_asks() -> None:
    """After the burst one event is allowed each tenth of a second."""
    bucket = Bucket(rate=10, burst=2, now_s=0.0)
    waits = [bucket.take(0.0) for _ in range(4)]
    assert waits == [0.0, 0.0, pytest.approx(0.1), pytest.approx(0.2)]
    assert bucket.take(0.3) == pytest.approx(0.0)


def test_silence_refills_up_to_the_burst_only() -> None:
    """A quiet hour does not pay for a flood."""
    bucket = Bucket(rate=10, burst=2, now_s=0.0)
    assert [bucket.take(3600.0) for _ in range(3)][-1] == pytest.approx(0.1)
