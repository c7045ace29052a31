"""The count of a commit's instructions does not wait for what will not come."""

import pytest

from jambonz_shared.redis import script
from tests.bench.bench_commit import exit_if_one_does_not_compile


def test_script_that_does_not_compile_is_named() -> None:
    """Whoever works on it wants the line of the mistake."""
    broken = script.Script.of("commit", b"local a =\nlocal b")
    with pytest.raises(SystemExit, match=r"commit\.lua: .*user_script:2: unexpected symbol near 'local'"):
        exit_if_one_does_not_compile([script.CLAIM, broken])
