"""The containers of the Kubernetes manifests, run by the engine with the same arguments, restrictions and limits."""

from pathlib import Path

import pytest

from tests.cluster.compose import PROJECT, ComposeCluster
from tests.conditions import until_now
from tests.deploy.conftest import tools
from tests.deploy.rendering import Object, container_of, environ_of, kustomized, named, objects_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

__all__ = ["tools"]

UNITS = {"Mi": 2**20, "Gi": 2**30}


def run_arguments(workload: Object, secrets: Path) -> list[str]:
    """Return what ``docker run`` needs to make a pod's container: what a kubelet would do."""
    container = container_of(workload)
    pod = workload["spec"]["template"]["spec"]
    limits = container["resources"]["limits"]
    memory = int(limits["memory"][:-2]) * UNITS[limits["memory"][-2:]]
    user = pod["securityContext"]
    arguments = ["--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--memory", str(memory)]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    arguments += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--tmpfs", "/tmp"]
    arguments += ["--volume", f"{secrets}:/run/secrets/jambonz:ro"]
    for name, value in environ_of(container).items():
        arguments += ["--env", f"{name}={value}"]
    return arguments


@pytest.mark.parametrize(("name", "port"), [("gateway", 8081), ("worker", 8082)])
def test_container_of_a_manifest_becomes_ready_and_drains(
    compose: ComposeCluster, tools: None, tmp_path: Path, name: str, port: int
) -> None:
    """What the manifest asks for is enough to work, and SIGTERM ends it in peace."""
    workload = named(objects_of(kustomized("base")), "Deployment", f"jambonz-{name}")
    (tmp_path / "redis-url").write_text("redis://jambonz:change-me@redis:6379/0")
    (tmp_path / "basic-auth").write_text("jambonz:secret")
    tmp_path.chmod(0o755)
    engine = compose.engine
    options = run_arguments(workload, tmp_path)
    image = f"jambonz-cluster/{name}"
    network = f"{PROJECT}_inside"
    command = ["docker", "run", "--detach", "--network", network, *options, image, *container_of(workload)["args"]]
    container = engine.run(*command).strip()
    path = container_of(workload)["readinessProbe"]["httpGet"]["path"]
    try:

        def is_ready() -> bool:
            try:
                engine.run("docker", "exec", container, "python", "-I", "-S", "/opt/probe.py", str(port), path)
            except AssertionError:
                return False
            return True

        until_now(is_ready, f"the {name} of the manifest is ready", limit_s=40)
        engine.run("docker", "stop", "-t", "120", container, limit_s=130)
        assert compose.inspect(container)["State"]["ExitCode"] == 0
    finally:
        engine.run("docker", "rm", "-f", container)
