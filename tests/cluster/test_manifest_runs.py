"""The containers of the Kubernetes manifests, run by the engine with the same arguments, restrictions and limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jambonz_simulator import simulate_call
from tests.cluster.compose import ComposeCluster
from tests.conditions import until_now
from tests.deploy.conftest import tools
from tests.deploy.rendering import Object, container_of, environ_of, kustomized, named, objects_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

__all__ = ["tools"]

UNITS = {"Mi": 2**20, "Gi": 2**30}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
READY_LIMIT_S = 40.0

# What the Secret of the manifests holds, for the Redis of the Compose cluster.
SECRETS = {"redis-url": "redis://jambonz:change-me@redis:6379/0", "basic-auth": "jambonz:secret"}


def size_bytes(quantity: str) -> int:
    """Read a quantity of Kubernetes as the manifests write it, ``512Mi``."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def cores(quantity: str) -> float:
    """Read an amount of CPU, ``500m`` or ``1``."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def volume_arguments(pod: Object, secrets: Path) -> list[str]:
    """Return the options for what a pod's only container mounts."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    arguments: list[str] = []
    (container,) = pod["containers"]
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            size = size_bytes(volume["emptyDir"]["sizeLimit"])
            arguments += ["--tmpfs", f"{mount['mountPath']}:size={size},mode=1777"]
        else:
            assert {item["key"] for item in volume["secret"]["items"]} <= set(SECRETS)
            assert mount["readOnly"] is True
            arguments += ["--volume", f"{secrets}:{mount['mountPath']}:ro"]
    return arguments


def run_arguments(workload: Object, secrets: Path) -> list[str]:
    """Return what ``docker run`` needs to make a pod's container: what a kubelet would do, nothing more."""
    pod = workload["spec"]["template"]["spec"]
    container = container_of(workload)
    limits, security = container["resources"]["limits"], container["securityContext"]
    arguments = ["--user", f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"]
    arguments += ["--memory", str(size_bytes(limits["memory"])), "--cpus", str(cores(limits["cpu"]))]
    arguments += [option for name in security["capabilities"]["drop"] for option in ("--cap-drop", name)]
    if security["readOnlyRootFilesystem"]:
        arguments.append("--read-only")
    if not security["allowPrivilegeEscalation"]:
        arguments += ["--security-opt", "no-new-privileges:true"]
    assert {one["name"] for one in container["env"]} == set(environ_of(container)), "every variable is a plain value"
    arguments += [option for pair in environ_of(container).items() for option in ("--env", "=".join(pair))]
    return arguments + volume_arguments(pod, secrets)


class Pod:
    """A container that runs as its manifest says."""

    def __init__(self, compose: ComposeCluster, workload: Object, secrets: Path) -> None:
        self._compose = compose
        self._pod: dict[str, Any] = workload["spec"]["template"]["spec"]
        self._container = container_of(workload)
        name = self._container["image"].rpartition("/")[2].partition(":")[0]
        network = ("--network", f"{compose.project}_inside")
        options = run_arguments(workload, secrets)
        command = ["docker", "run", "--detach", *network, *options, f"jambonz-cluster/{name}", *self._container["args"]]
        self.id = compose.engine.run(*command).strip()

    @property
    def address(self) -> str:
        return self._compose.addresses_of(self.id)["inside"]

    def answers(self, probe: str) -> bool:
        """Whether a probe of the manifest is content."""
        get = self._container[probe]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self._container["ports"]}
        check = ("python", "-I", "-S", "/opt/probe.py", str(ports[get["port"]]), get["path"])
        try:
            self._compose.engine.run("docker", "exec", self.id, *check)
        except AssertionError:
            return False
        return True

    def stop(self) -> int:
        """Ask the container to end, as a kubelet does, and return its exit code: 137 if its grace was too short."""
        grace_s = self._pod["terminationGracePeriodSeconds"]
        self._compose.engine.run("docker", "stop", "-t", str(grace_s), self.id, limit_s=grace_s + 10)
        code: int = self._compose.inspect(self.id)["State"]["ExitCode"]
        return code


@contextmanager
def running(compose: ComposeCluster, name: str, folder: Path) -> Iterator[Pod]:
    """Run the container of a Deployment of the base for the length of a block."""
    folder.chmod(0o755)
    for key, value in SECRETS.items():
        (folder / key).write_text(value)
    pod = Pod(compose, named(objects_of(kustomized("base")), "Deployment", f"jambonz-{name}"), folder)
    try:
        until_now(
            lambda: all(pod.answers(probe) for probe in PROBES if probe in pod._container),
            f"the {name} of the manifest is ready",
            limit_s=READY_LIMIT_S,
        )
        yield pod
    finally:
        compose.engine.run("docker", "rm", "-f", pod.id)


async def test_containers_of_the_manifests_serve_a_call_and_drain(
    compose: ComposeCluster, tools: None, tmp_path: Path
) -> None:
    """Command, variables, secrets, user, read-only root, no capability, CPU and memory limits: enough to work with."""
    folders = [tmp_path / name for name in ("worker", "gateway")]
    for folder in folders:
        folder.mkdir()
    with running(compose, "worker", folders[0]) as worker, running(compose, "gateway", folders[1]) as gateway:
        result = await simulate_call(f"ws://{SECRETS['basic-auth']}@{gateway.address}:3000/ivr", "ivr")
        assert result.is_good, result
        assert (await simulate_call(f"ws://{gateway.address}:3000/ivr")).outcome.kind == "failed", "the secret counts"
        assert gateway.stop() == 0
        assert worker.stop() == 0


def test_status_page_of_the_manifest_becomes_ready(compose: ComposeCluster, tools: None, tmp_path: Path) -> None:
    """It has the same restrictions as the rest."""
    with running(compose, "status", tmp_path) as status:
        assert status.stop() == 0
