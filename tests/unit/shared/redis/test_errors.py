"""Errors of the link carry their numbers, and whether a command may be repeated."""

import pytest

from jambonz_shared.redis.errors import LinkDown, LinkFull, ResponseError


def test_code_is_the_first_word() -> None:
    """Code asks for the code, never for the text."""
    assert ResponseError("WRONGTYPE Operation against a key").code == "WRONGTYPE"
    assert ResponseError("ERR").code == "ERR"


@pytest.mark.parametrize("sent", [True, False])
def test_link_down_says_whether_the_command_was_sent(sent: bool) -> None:
    """Only what was certainly not sent may be repeated without thought."""
    error = LinkDown(sent=sent)
    assert error.sent is sent
    assert ("was not sent" in str(error)) is not sent


def test_link_full_tells_its_numbers() -> None:
    """An operator sees how much was waiting."""
    error = LinkFull(11, 10)
    assert (error.sent, error.buffered_bytes, error.limit_bytes) == (False, 11, 10)
    assert "11 bytes" in str(error)
