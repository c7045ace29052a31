"""checkov finds nothing in the manifests and the Dockerfile but what deploy/checkov.yaml names, with a reason."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.rendering import OVERLAYS, REPO, helmed, kustomized

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CONFIG = REPO / "deploy/checkov.yaml"
SKIPPED = tuple(re.findall(r"^  - (CKV\w+)$", CONFIG.read_text(), re.MULTILINE))
ALL_OF_THE_CHART = ("--set", "keda.enabled=true,serviceMonitor.enabled=true")


@pytest.fixture(scope="session")
def rendered(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every overlay, the chart with all it can do, and the Dockerfile, in one folder."""
    done = subprocess.run(["make", "venv-checkov"], cwd=REPO, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"checkov cannot be installed:\n{done.stdout}{done.stderr}"
    folder = tmp_path_factory.mktemp("rendered")
    for overlay in OVERLAYS:
        (folder / f"{overlay.replace('/', '-')}.yaml").write_text(kustomized(overlay))
    (folder / "chart.yaml").write_text(helmed(*ALL_OF_THE_CHART))
    (folder / "Dockerfile").write_text((REPO / "Dockerfile").read_text())
    return folder


def checkov(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(REPO / ".venv-checkov/bin/checkov"), "--directory", str(folder), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def test_checkov_finds_nothing(rendered: Path) -> None:
    """Root, capabilities, writable file systems, missing limits or probes, secrets in the open: none of it."""
    done = checkov(rendered, "--config-file", str(CONFIG), "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = {report["check_type"]: report["summary"]["passed"] for report in json.loads(done.stdout)}
    assert passed["kubernetes"] > 1000
    assert passed["dockerfile"] > 50


def test_every_exception_is_needed(rendered: Path) -> None:
    """An exception that nothing needs hides the next mistake."""
    done = checkov(rendered, "--framework", "kubernetes", "dockerfile", "--compact", "--quiet", "--skip-download")
    assert set(re.findall(r"^Check: (CKV\w+)", done.stdout, re.MULTILINE)) == set(SKIPPED), done.stdout
