"""The engine that tests start ends with its test run, however that ends. Comes before those that have one running."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import leftovers
from tests.cluster.engine import REPO, NoEngine, running_engine
from tests.conditions import until_now

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

START_LIMIT_S: Final = 120.0

# A test run as far as it matters here: a fixture of the session, and a test that is at work when the run is ended.
RUN: Final = """
import time, pytest
from tests.cluster.engine import running_engine

@pytest.fixture(scope="session")
def engine():
    with running_engine() as engine:
        yield engine

def test_at_work(engine):
    print("READY", engine.environ["DOCKER_HOST"], flush=True)
    time.sleep(600)
"""


@contextmanager
def run_with_an_engine(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Start a test run of its own, and give it and its engine's folder when the engine is there."""
    (folder / "test_run.py").write_text(RUN)
    options = ["-q", "-s", "-p", "no:cacheprovider", "-c", str(REPO / "pyproject.toml"), "--rootdir", str(REPO)]
    command = [sys.executable, "-m", "pytest", *options, str(folder / "test_run.py")]
    environ = {**os.environ, "PYTHONPATH": str(REPO)}
    with subprocess.Popen(command, cwd=REPO, env=environ, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        try:
            yield run, engine_folder(run)
        finally:
            run.terminate()
            run.wait(60)


def engine_folder(run: "subprocess.Popen[str]") -> Path:
    """Return the folder of the engine that the run tells of."""
    assert run.stdout is not None
    said = ""
    while select.select([run.stdout], [], [], START_LIMIT_S)[0] and (line := run.stdout.readline()):
        said += line
        if "READY" in line:
            folder = Path(line.split("unix://")[1].strip()).parent
            if not folder.name.startswith(leftovers.PREFIX):
                pytest.skip("this machine has an engine already; nobody here starts or ends it")
            return folder
    if "NoEngine" in said:
        pytest.skip("no engine of our own can be started here")
    raise AssertionError(f"the run did not begin:\n{said}")


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that work in a folder."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if f"{folder}/" in line]


def has_network() -> bool:
    return Path("/sys/class/net/docker0").exists()


def test_an_engine_ends_with_a_run_that_is_told_to_end(tmp_path: Path) -> None:
    """By ``timeout``, or by CI that gives up a job: fixtures end as they do after Ctrl-C."""
    with run_with_an_engine(tmp_path) as (run, folder):
        assert processes_of(folder)
        run.send_signal(signal.SIGTERM)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == pytest.ExitCode.INTERRUPTED
        assert processes_of(folder) == []
        assert not folder.exists()
        assert not has_network()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """The engine ends by itself; bridge, rules and folder are there until somebody needs an engine again."""
    with run_with_an_engine(tmp_path) as (run, folder):
        (daemon,) = [line for line in processes_of(folder) if line.startswith("dockerd")]
        run.kill()
        run.wait(10)
        until_now(lambda: daemon not in processes_of(folder), "dockerd has ended with the test run that started it")
        assert folder in leftovers.folders()
        with running_engine() as engine:
            assert not folder.exists()
            assert engine.answers()
        assert leftovers.folders() == []
        assert not has_network()


def test_a_second_run_leaves_the_engine_of_the_first_alone(tmp_path: Path) -> None:
    """It says why it has none, and removes nothing."""
    with run_with_an_engine(tmp_path) as (_, folder):
        with pytest.raises(NoEngine, match="another test run"), running_engine():
            pass
        assert folder.exists()
        assert any(line.startswith("dockerd") for line in processes_of(folder))
