"""`make load` with each scenario: real gateways and workers, called by locust."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.rendering import REPO
from tests.load_limits import ON_A_SHARED_MACHINE

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def load(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "loadtest/local.py", "--folder", str(folder), *arguments]
    return subprocess.run(
        command,
        cwd=REPO,
        env={**os.environ, **ON_A_SHARED_MACHINE, **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize("scenario", ["voice-agent", "call-centre", "reconnect-storm", "churn"])
def test_scenario_keeps_all_limits(tools: None, tmp_path: Path, scenario: str) -> None:
    """No call fails, no hook waits too long; the report tells what it cost."""
    done = load(tmp_path, "--calls-per-second", "4", "--minutes", "0.1", "--scenario", scenario)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all limits kept" in done.stdout
    assert "calls/s per core" in (tmp_path / "report.md").read_text()
    html = (tmp_path / "report.html").read_text()
    for ours in ("margin", "hooks answered in time", "acks in order", "commands not lost"):
        assert f'"{ours}"' in html, "the report shows our rows beside locust's own"


def test_tables_tell_what_the_end_of_the_run_tells(tools: None, tmp_path: Path) -> None:
    """Ack latency, margin, missed, out of order and lost in locust's own tables, and exactly in a table of ours."""
    done = load(tmp_path, "--calls-per-second", "4", "--minutes", "0.1", "--scenario", "churn")
    assert done.returncode == 0, done.stdout + done.stderr
    (counts,) = csv.DictReader((tmp_path / "calls_jambonz.csv").read_text().splitlines())
    ended, hooks = int(counts["calls"]), int(counts["hooks"])
    assert f"{ended} calls ended of {counts['started']}, 0 failed, {hooks} hooks" in done.stdout
    assert f"margin to the deadline {float(counts['margin_ms']):.0f} ms, 0 missed" in done.stdout
    assert 0 < float(counts["ack_p50_ms"]) <= float(counts["ack_p99_ms"]) <= 3000
    assert counts["out_of_order"] == counts["lost_commands"] == counts["deadline_misses"] == "0"
    # locust writes its tables once per second until the end: a call or two may come behind.
    rows = {
        (row["Type"], row["Name"]): row
        for row in csv.DictReader((tmp_path / "calls_stats.csv").read_text().splitlines())
    }
    for name in ("hooks answered in time", "acks in order", "acks once"):
        assert 0 < int(rows["check", name]["Request Count"]) <= hooks
        assert rows["check", name]["Failure Count"] == "0"
    least_margin_ms = float(rows["margin", "session:new"]["Min Response Time"])
    assert least_margin_ms >= float(counts["margin_ms"]) - 0.01
    assert float(rows["", "Aggregated"]["Max Response Time"]) < least_margin_ms, "margins are no requests"


def test_ramp_finds_the_step_that_breaks_and_tells_what_a_core_bears(tools: None, tmp_path: Path) -> None:
    """It climbs with several generators, stops where a limit breaks, and tells the figures of the step before."""
    arguments = ("--calls-per-second", "6", "--minutes", "0.6", "--scenario", "churn", "--shape", "ramp")
    done = load(tmp_path, *arguments, "--generators", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all limits kept up to the top: ask for more calls per second" in done.stdout
    first, second = csv.DictReader((tmp_path / "calls_ramp.csv").read_text().splitlines())
    assert float(first["calls_per_s"]) < float(second["calls_per_s"])
    report = (tmp_path / "report.md").read_text()
    assert re.search(r"Last good step: \d+ calls/s and \d+ live calls per core", report), report
    sys.stdout.write(report)


def test_ramp_whose_first_step_breaks_stops_and_fails(tools: None, tmp_path: Path) -> None:
    """There is no last good step to tell of, and no reason to climb on."""
    arguments = ("--calls-per-second", "6", "--minutes", "0.6", "--scenario", "churn", "--shape", "ramp")
    done = load(tmp_path, *arguments, ACK_P99_MS="0.001")
    assert done.returncode == 1
    assert "no step kept the limits" in done.stdout
    assert "BROKEN at 3 calls/s: 99th percentile of the acks" in done.stdout
    assert len((tmp_path / "calls_ramp.csv").read_text().splitlines()) == 2, "names and one step"


def test_short_soak_grows_nothing(tools: None, tmp_path: Path) -> None:
    """Half the load, and memory, descriptors, tasks, keys and streams stay what they were; `make soak` takes longer."""
    arguments = ("--calls-per-second", "8", "--minutes", "0.6", "--shape", "soak", "--soak")
    done = load(tmp_path, *arguments)
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


@pytest.mark.parametrize(("variable", "names"), [("SCENARIO", "ivr, voice-agent"), ("SHAPE", "steady, spike")])
def test_name_that_nobody_knows_is_refused_with_those_that_are_known(tools: None, variable: str, names: str) -> None:
    """Whoever runs locust without `make load`: one line, and no traceback."""
    arguments = "-f loadtest/locustfile.py --headless -t 1s --host ws://127.0.0.1:1"
    command = [str(REPO / ".venv-deploy/bin/locust"), *arguments.split()]
    environ = {"PATH": "/usr/bin:/bin", variable: "nosuch"}
    done = subprocess.run(command, cwd=REPO, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{variable}='nosuch': expected one of {names}" in done.stderr
    assert "Traceback" not in done.stderr
