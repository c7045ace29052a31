"""`make demo`: the first thing a newcomer sees."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster_fixture import REPO


def demo(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "jambonz_cluster", "demo"]
    return subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=60, check=False)


def test_demo_plays_a_call_that_goes_well() -> None:
    """The conversation is shown, each hook was answered, the exit code is 0."""
    done = demo(REPO)
    assert done.returncode == 0, done.stdout + done.stderr
    for sentence in ("presses 5", "I did not understand that.", "We are open from nine to five.", "Goodbye."):
        assert sentence in done.stdout
    assert "4 of 4 hooks acked in time" in done.stdout


def test_demo_elsewhere_says_where_it_works(tmp_path: Path) -> None:
    """The examples are part of the repository, not of the package."""
    done = demo(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "the demo plays examples.ivr:app: run it in the repository's folder\n"
