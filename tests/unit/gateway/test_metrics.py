"""What a gateway counts, by labels of few values."""

import pytest

from jambonz_gateway.metrics import Metrics, close_label
from jambonz_shared.redis.errors import ResponseError


@pytest.mark.parametrize(
    ("code", "label"), [(1000, 1000), (1006, 1006), (1012, 1012), (3000, 3000), (3999, 3000), (4711, 4000)]
)
def test_close_codes_of_a_stranger_fill_no_metric(code: int, label: int) -> None:
    """A peer may choose among two thousand; each would be a time series for ever."""
    assert close_label(code) == label


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        pytest.param("OOM command not allowed when used memory > 'maxmemory'.", (1, 0), id="memory"),
        pytest.param("READONLY You can't write against a read only replica.", (1, 0), id="replica"),
        pytest.param("NOPERM this user has no permissions", (1, 0), id="right"),
        pytest.param("ERR Error running script", (0, 1), id="script"),
        pytest.param("WRONGTYPE Operation against a key", (0, 1), id="type"),
    ],
)
def test_what_redis_refuses_is_no_failure_of_ours(text: str, counted: tuple[int, int]) -> None:
    """An alert on our own errors would send somebody into the wrong code, in the middle of an outage."""
    metrics = Metrics()
    metrics.count_refusal(ResponseError(text))
    assert (metrics.redis_refusals, metrics.failures) == counted
