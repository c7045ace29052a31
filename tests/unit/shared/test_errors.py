"""Errors say what happened, to which call, with the numbers as attributes."""

import pytest

from jambonz_shared.errors import (
    BadFormat,
    BadFrame,
    CallGone,
    CallLost,
    ClusterError,
    MessageTooBig,
)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(CallGone("a"), ["'a'", "nothing was sent"], id="call_gone"),
        pytest.param(CallLost("a", "w2"), ["'a'", "'w2'"], id="call_lost"),
        pytest.param(CallLost("a", ""), ["'a'", "no longer this worker's"], id="call_lost_to_nobody"),
        pytest.param(MessageTooBig("reply", 25_000, 24_000), ["reply", "25000", "24000", "shorten"], id="too_big"),
    ],
)
def test_text_says_what_happened_and_to_what(error: ClusterError, words: list[str]) -> None:
    """Somebody reads it at night."""
    assert all(word in str(error) for word in words)


def test_facts_are_attributes() -> None:
    """Callers never parse text."""
    lost, big = CallLost("a", "w2"), MessageTooBig("reply", 2, 1)
    assert (CallGone("a").call_sid, lost.call_sid, lost.owner) == ("a", "a", "w2")
    assert (big.what, big.size_bytes, big.limit_bytes) == ("reply", 2, 1)


@pytest.mark.parametrize("kind", [CallGone, CallLost, MessageTooBig, BadFrame, BadFormat])
def test_one_name_catches_them_all(kind: type[Exception]) -> None:
    """An application may not care which."""
    assert issubclass(kind, ClusterError)


@pytest.mark.parametrize("kind", [MessageTooBig, BadFrame, BadFormat])
def test_bad_values_are_value_errors_too(kind: type[Exception]) -> None:
    """That is what Python calls them."""
    assert issubclass(kind, ValueError)
