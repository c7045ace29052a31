"""Commands as Redis reads them."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_shared.redis.command import Argument, pack_command, pack_script

# Long ones repeat a few bytes: to make up thousands took nearly all of the time.
BYTES = st.builds(lambda some, times: some * times, st.binary(max_size=50), st.sampled_from([1, 1, 41, 60]))
ARGUMENTS = BYTES | st.text(max_size=50) | st.integers() | st.floats()


@given(args=st.lists(ARGUMENTS, min_size=1, max_size=20))
def test_command_is_what_hiredis_packs(args: list[Argument]) -> None:
    """Of the authors of Redis' own client; numbers as Python prints them."""
    assert pack_command(args) == hiredis.pack_command(tuple(args))  # type: ignore[arg-type]


@given(keys=st.lists(ARGUMENTS, max_size=3), args=st.lists(ARGUMENTS, max_size=10))
def test_script_is_run_by_what_hiredis_packs(keys: list[Argument], args: list[Argument]) -> None:
    """Most commands of a worker are of this form, so that its head has a way of its own."""
    sha = b"0123456789abcdef0123456789abcdef01234567"
    whole = (b"EVALSHA", sha, len(keys), *keys, *args)
    assert pack_script(sha, keys, args) == hiredis.pack_command(whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 0, 9, 10, 99, 100, 2047, 2048, 10**30])
def test_whole_numbers_of_any_length(number: int) -> None:
    """Small ones are packed beforehand."""
    assert pack_command((number,)) == b"*1\r\n$%d\r\n%d\r\n" % (len(str(number)), number)


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 100_000])
def test_arguments_of_any_length(size: int) -> None:
    """Short and long ones take different ways."""
    assert pack_command((b"x" * size,)) == b"*1\r\n$%d\r\n%b\r\n" % (size, b"x" * size)


@pytest.mark.parametrize("arg", [None, True, ["x"]])
def test_anything_else_is_refused(arg: object) -> None:
    """True would be stored as a word, None as another, and found by the reader much later."""
    with pytest.raises(TypeError):
        pack_command((b"SET", "key", arg))  # type: ignore[arg-type]
