"""Errors of the link carry their numbers, and whether a command may be repeated."""

import pytest

from jambonz_shared.redis.errors import LinkDown, LinkFull, ResponseError


def test_code_is_the_first_word() -> None:
    """Code asks for the code, never for the text."""
    assert ResponseError("WRONGTYPE Operation against a key").code == "WRONGTYPE"
    assert ResponseError("ERR").code == "ERR"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        pytest.param("@user_script: 51: -OOM command not allowed when", "OOM", id="memory"),
        pytest.param("@user_script: 51: -READONLY You can't write.", "READONLY", id="replica"),
        pytest.param("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE", id="bare"),
        pytest.param("user_script:51: attempt to index a nil value", "ERR", id="fault_of_the_script"),
    ],
)
def test_code_is_found_inside_what_redis_6_says_of_a_script(refusal: str, code: str) -> None:
    """Weather inside a script is weather, however old the server."""
    text = f"ERR Error running script (call to f_f8cbf8844e1db285a820881dbe719a75bdd4523c): @user_script:51: {refusal}"
    assert ResponseError(text).code == code


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
