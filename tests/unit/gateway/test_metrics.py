"""What a gateway counts, by labels of few values."""

import pytest

from jambonz_gateway.metrics import close_label


@pytest.mark.parametrize(
    ("code", "label"), [(1000, 1000), (1006, 1006), (1012, 1012), (3000, 3000), (3999, 3000), (4711, 4000)]
)
def test_close_codes_of_a_stranger_fill_no_metric(code: int, label: int) -> None:
    """A peer may choose among two thousand; each would be a time series for ever."""
    assert close_label(code) == label
