"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.units import duration_text, parse_duration_s, parse_size_bytes, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("4s", 4.0, id="seconds"),
        pytest.param("2m", 120.0, id="minutes"),
        pytest.param("1.5h", 5400.0, id="fraction"),
        pytest.param("1d", 86400.0, id="days"),
        pytest.param(" 4 S ", 4.0, id="blanks_and_capitals"),
        pytest.param("4", 4.0, id="no_unit"),
        pytest.param(4, 4.0, id="number"),
    ],
)
def test_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    """A person may pick the unit; the program sees seconds only."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "4x", "-4s", "s", "4s5", "1e3s", "٤s", True, None])
def test_bad_duration_says_what_was_expected(text: str) -> None:
    """Whoever mistypes a duration sees an example of a good one."""
    with pytest.raises(ValueError, match="a duration such as 250ms, 4s or 2m"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        pytest.param("512B", 512, id="bytes"),
        pytest.param("24KiB", 24_576, id="kibibytes"),
        pytest.param("24kb", 24_000, id="kilobytes"),
        pytest.param("1.5MiB", 1_572_864, id="fraction"),
        pytest.param("77", 77, id="no_unit"),
        pytest.param(77, 77, id="number"),
    ],
)
def test_size_is_read_in_bytes(text: str, size_bytes: int) -> None:
    """A person may pick the unit; the program sees bytes only."""
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "1.5B", "-1KiB", "KiB", "1 TiB", True, None])
def test_bad_size_says_what_was_expected(text: str) -> None:
    """Half a byte or an unknown unit is a mistake, not a guess."""
    with pytest.raises(ValueError, match="a size such as 512B, 24KiB or 1MiB"):
        parse_size_bytes(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_duration_text_is_read_back(milliseconds: int) -> None:
    """What a message prints can be pasted into a setting."""
    assert parse_duration_s(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(min_value=0, max_value=2**40))
def test_size_text_is_read_back(size_bytes: int) -> None:
    """What a message prints can be pasted into a setting."""
    assert parse_size_bytes(size_text(size_bytes)) == size_bytes


def test_round_values_are_spelled_with_their_largest_unit() -> None:
    """People read 20s and 1MiB, not 20000ms and 1048576B."""
    assert [duration_text(s) for s in (0, 0.25, 1.5, 20, 120, 7200)] == ["0s", "250ms", "1.5s", "20s", "2m", "2h"]
    assert [size_text(b) for b in (0, 77, 24_576, 1024**2)] == ["0B", "77B", "24KiB", "1MiB"]
