"""What a process imports before it needs it is paid at each start, by each test of an application, too."""

import subprocess
import sys

import pytest


def imported_by(statement: str) -> set[str]:
    """Return the top-level packages that a statement imports in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


# All that the command does for a supervisor, but for starting its processes.
SUPERVISOR = """
from jambonz_cluster import cli, processes
processes.run_processes = lambda *_: 0
try:
    cli.main(["gateway", "--processes", "2"])
except SystemExit as ended:
    assert ended.code == 0
"""


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("import jambonz_workers, jambonz_workers.testing", id="applications_and_their_tests"),
        pytest.param(SUPERVISOR, id="supervisors"),
    ],
)
def test_nobody_pays_for_http_who_speaks_none(statement: str) -> None:
    """aiohttp reads the machine's certificates when it is imported; that takes longer than all of our own modules."""
    assert "aiohttp" not in imported_by(statement)
