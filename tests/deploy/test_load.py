"""`make load` with each scenario: real gateways and workers, called by locust."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.rendering import REPO

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def load(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    import os

    command = [sys.executable, "loadtest/local.py", "--folder", str(folder), *arguments]
    return subprocess.run(
        command, cwd=REPO, env={**os.environ, **environ}, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.parametrize("scenario", ["voice-agent", "call-centre", "reconnect-storm", "churn"])
def test_scenario_keeps_all_limits(tools: None, tmp_path: Path, scenario: str) -> None:
    """No call fails, no hook waits too long; the report tells what it cost."""
    done = load(tmp_path, "--calls-per-second", "4", "--minutes", "0.1", "--scenario", scenario, ACK_P99_MS="3000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all limits kept" in done.stdout
    assert "calls/s per core" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_short_soak_grows_nothing(tools: None, tmp_path: Path) -> None:
    """Half the load, and memory, descriptors, tasks, keys and streams stay what they were; `make soak` takes longer."""
    arguments = ("--calls-per-second", "8", "--minutes", "0.6", "--shape", "soak", "--soak")
    done = load(tmp_path, *arguments, ACK_P99_MS="3000")
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "report.md").read_text()
    rows = {
        name: values for name, *values in (line.strip("|").split("|") for line in report.splitlines() if "|" in line)
    }
    for name in ("rss_mib", "fds", "tasks", "keys", "stream_entries"):
        assert [int(value) for value in rows[f" {name} "]], name
    assert min(int(value) for value in rows[" tasks "]) >= 8, (
        "two gateways and two workers have more tasks than one each"
    )
    sys.stdout.write(report)


def test_broken_limit_is_the_exit_code(tools: None, tmp_path: Path) -> None:
    """A pipeline stops where the limits were not kept."""
    done = load(tmp_path, "--calls-per-second", "2", "--minutes", "0.05", ACK_P99_MS="0.001")
    assert done.returncode == 1
    assert "BROKEN: 99th percentile" in done.stdout
