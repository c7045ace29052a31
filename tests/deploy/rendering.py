"""What helm and kustomize make of the files in deploy/, as plain dictionaries."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

REPO: Final = Path(__file__).resolve().parents[2]
BIN: Final = REPO / ".venv-deploy/bin"
KUBERNETES: Final = REPO / "deploy/kubernetes"
CHART: Final = REPO / "deploy/helm/jambonz-cluster"

OVERLAYS: Final = (
    "base",
    "overlays/single-redis",
    "overlays/sentinel",
    "overlays/redis-cluster",
    "overlays/keda",
    "overlays/dev",
)

_TO_JSON: Final = "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)"

Object = dict[str, Any]


def tool(name: str, *arguments: str, stdin: str | None = None) -> str:
    """Run one of the tools of .venv-deploy and return what it wrote."""
    command = [str(BIN / name), *arguments]
    done = subprocess.run(command, cwd=REPO, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def objects_of(yaml_text: str) -> list[Object]:
    """Return the documents of a YAML stream."""
    found: list[Object] = json.loads(tool("python", "-c", _TO_JSON, stdin=yaml_text))
    return found


def kustomized(folder: str) -> str:
    """Return an overlay, or another folder below deploy/kubernetes, as YAML."""
    return tool("kubectl", "kustomize", str(KUBERNETES / folder))


def helmed(*arguments: str) -> str:
    """Return the chart rendered with more arguments, as YAML."""
    return tool("helm", "template", "jambonz", str(CHART), *arguments)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of a kind."""
    return [one for one in objects if one["kind"] == kind]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """Return one object."""
    return next(one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)


def workloads(objects: list[Object]) -> list[Object]:
    """Return what makes pods."""
    return [one for one in objects if one["kind"] in ("Deployment", "StatefulSet")]


def pod_labels(workload: Object) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def container_of(workload: Object) -> Object:
    """Return the only container of a workload's pods."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: Object = container
    return found


def environ_of(container: Object) -> dict[str, str]:
    """Return the variables that a container gets as plain values."""
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def key_of(one: Object) -> tuple[str, str]:
    """Return what an object is known by."""
    return one["kind"], one["metadata"]["name"]
