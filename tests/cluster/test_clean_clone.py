"""What somebody does who has just cloned the project: the commands of the how-to, and two thousand calls."""

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.compose import UP_LIMIT_S, ComposeCluster
from tests.cluster.engine import REPO, Engine
from tests.conditions import until_now
from tests.load_limits import ON_A_SHARED_MACHINE

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

CALLS = 2000
# What two cores bear that also run Redis, haproxy, Prometheus and the callers.
CALLS_PER_SECOND = 20
MINUTES = (CALLS / CALLS_PER_SECOND + 3) / 60

GATEWAYS, WORKERS = 3, 4
UNEVENNESS = 0.2


@pytest.fixture
def cloned(engine: Engine, tmp_path: Path) -> Iterator[ComposeCluster]:
    """The project as it was committed, not yet up; its images are built there."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(REPO), str(folder)], check=True)
    shutil.copy(folder / ".env.example", folder / ".env")
    running = ComposeCluster(engine, project="jc-clone", folder=folder, basic_auth="jambonz:clean%clone")
    images = {f"{name.upper()}_IMAGE": f"jc-clone/{name}" for name in ("gateway", "worker", "cluster", "loadtest")}
    load = {"CALLS_PER_SECOND": f"{CALLS_PER_SECOND}", "MINUTES": f"{MINUTES:.3f}", "LOAD_WORKERS": "2"}
    running.engine.environ |= {**images, **load, **ON_A_SHARED_MACHINE}
    try:
        yield running
    finally:
        running.down()


def assert_tables_are_kept(cloned: ComposeCluster, folder: Path, ended: int) -> None:
    """The report and the tables outlive the containers that wrote them, and can be taken out."""
    (master,) = cloned.compose("--profile", "load", "ps", "-a", "-q", "load-master").split()
    cloned.engine.run("docker", "cp", f"{master}:/reports", str(folder))
    (counts,) = csv.DictReader((folder / "calls_jambonz.csv").read_text().splitlines())
    assert (int(counts["calls"]), counts["deadline_misses"]) == (ended, "0")
    assert '"margin"' in (folder / "report.html").read_text()


def test_two_thousand_calls_from_a_clean_clone(cloned: ComposeCluster, tmp_path: Path) -> None:
    """0 errors, 0 deadlines missed, all gateways alike within 20 %, no worker idle."""
    scale = ("--scale", f"gateway={GATEWAYS}", "--scale", f"worker={WORKERS}")
    cloned.compose("up", "-d", *scale, limit_s=UP_LIMIT_S)
    cloned.until_ready({"gateway": GATEWAYS, "worker": WORKERS})
    options = ("--no-deps", "--no-color", "--no-log-prefix", "--exit-code-from", "load-master")
    out = cloned.compose("--profile", "load", "up", *options, "load-master", "load-worker", limit_s=400)
    report = out[out.index("calls ended of") - 5 :]
    sys.stdout.write(f"{report}\n")
    ended, started, failed = map(int, re.findall(r"(\d+) calls ended of (\d+), (\d+) failed", out)[0])
    assert ended == started >= CALLS
    assert failed == 0
    assert " 0 missed" in report
    assert "all limits kept" in report
    assert_tables_are_kept(cloned, tmp_path / "reports", ended)

    by_gateway = 'jambonz_gateway_handshakes_total{status="101"}'
    by_worker = 'jambonz_worker_claims_total{result="ok"}'

    def is_all_scraped() -> bool:
        return all(sum(cloned.metric(query).values()) >= started for query in (by_gateway, by_worker))

    until_now(is_all_scraped, "Prometheus has counted every call")
    gateways, workers = (sorted(cloned.metric(query).values()) for query in (by_gateway, by_worker))
    sys.stdout.write(f"calls by gateway {gateways}, by worker {workers}\n")
    fair = sum(gateways) / GATEWAYS
    assert len(gateways) == GATEWAYS
    assert fair * (1 - UNEVENNESS) <= gateways[0] <= gateways[-1] <= fair * (1 + UNEVENNESS)
    assert len(workers) == WORKERS
    assert workers[0] > 0
