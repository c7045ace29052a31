"""The project's docker-compose.yml, run for real, with hands to scale, kill and replace its containers."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jambonz_cluster.embedded_redis import free_port
from tests.cluster.engine import REPO, Engine
from tests.conditions import until_now

PROJECT: Final = "jc-test"
COMPLAINTS: Final = ('"level":"warning"', '"level":"error"', "Traceback", "[ALERT]", "is DOWN, reason")
UP_LIMIT_S: Final = 600.0
READY_LIMIT_S: Final = 60.0

# Tests roll and scale many times; a drain is over when its calls have moved.
SETTINGS: Final = {
    "GATEWAY_DRAIN_TIMEOUT": "2s",
    "WORKER_DRAIN_TIMEOUT": "2s",
    "BIND_ADDRESS": "127.0.0.1",
    "COMPOSE": "docker-compose",
}


class ComposeCluster:
    """One running project. ``up`` first; ``down`` leaves nothing."""

    def __init__(self, engine: Engine, *, project: str = PROJECT, folder: Path = REPO, basic_auth: str = "") -> None:
        self.engine = engine.at(folder)
        self.project = project
        self.basic_auth = basic_auth
        self.port = free_port()
        self.status_port = free_port()
        self.prometheus_port = free_port()
        ports = {"PORT": self.port, "STATUS_PORT": self.status_port, "PROMETHEUS_PORT": self.prometheus_port}
        ports["LOCUST_PORT"] = free_port()
        self.engine.environ |= {**SETTINGS, **{name: str(port) for name, port in ports.items()}}
        self.engine.environ |= {"COMPOSE_PROJECT_NAME": project, "BASIC_AUTH": basic_auth}

    @property
    def url(self) -> str:
        """Where jambonz connects to."""
        userinfo = f"{self.basic_auth}@" if self.basic_auth else ""
        return f"ws://{userinfo}127.0.0.1:{self.port}/ivr"

    def up(self, **scale: int) -> None:
        """Start or scale the services, ``gateway=3``; return when all that take calls are ready.

        Services that are not named keep what they have.
        """
        for service, count in scale.items():
            self.engine.environ[f"{service.upper()}S"] = str(count)
        self.compose("up", "-d", limit_s=UP_LIMIT_S)
        self.until_ready({name: int(self.engine.environ[f"{name.upper()}S"]) for name in ("gateway", "worker")})

    def until_ready(self, counts: Mapping[str, int]) -> None:
        """Wait until so many gateways and workers take calls."""
        until_now(lambda: self._is_ready(counts), f"{counts} are ready", limit_s=READY_LIMIT_S)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self.compose("down", "-v", "--remove-orphans", "-t", "2", limit_s=120)

    def compose(self, *arguments: str, limit_s: float = 120.0) -> str:
        """Run Compose on the project."""
        return self.engine.run("docker-compose", *arguments, limit_s=limit_s)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        filters = (f"label=com.docker.compose.project={self.project}", f"label=com.docker.compose.service={service}")
        out = self.engine.run("docker", "ps", "-q", *(f"--filter={one}" for one in filters))
        return out.split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of a container."""
        found: dict[str, Any] = json.loads(self.engine.run("docker", "inspect", container))[0]
        return found

    def addresses_of(self, container: str) -> dict[str, str]:
        """Return a container's addresses by ``inside`` and ``outside``, the networks it is on."""
        networks = self.inspect(container)["NetworkSettings"]["Networks"]
        return {name.removeprefix(f"{self.project}_"): network["IPAddress"] for name, network in networks.items()}

    def kill(self, container: str) -> None:
        """End a container without a word, as a crash does, then start it again, as its restart policy would.

        The engine does not restart what its own command has killed.
        """
        self.engine.run("docker", "kill", container)
        self.engine.run("docker", "start", container)

    def status(self) -> dict[str, Any]:
        """Return what the status page tells; empty while it cannot tell."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/status.json", timeout=5) as response:
                told: dict[str, Any] = json.loads(response.read())
                return told
        except (urllib.error.URLError, OSError):
            return {}

    def until_status(self, fact: Callable[[Mapping[str, Any]], bool], description: str) -> None:
        """Wait until the status page tells of something."""

        def is_true() -> bool:
            told = self.status()
            return bool(told.get("gateways")) and fact(told)

        until_now(is_true, description, limit_s=READY_LIMIT_S)

    def gateways_up_in_haproxy(self) -> int:
        """Return how many gateways haproxy gives calls to."""
        text = self.compose(
            *("exec", "-T", "cluster", "python", "-c"),
            "import urllib.request as u; print(u.urlopen('http://haproxy:8404/metrics', timeout=5).read().decode())",
        )
        lines = [line for line in text.splitlines() if line.startswith('haproxy_server_status{proxy="gateways"')]
        return sum('state="UP"' in line and line.endswith(" 1") for line in lines)

    def metric(self, query: str) -> dict[str, float]:
        """Return what Prometheus answers, by instance."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/query?query={quote(query)}"
        with urllib.request.urlopen(url, timeout=5) as response:
            found = json.loads(response.read())["data"]["result"]
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in found}

    def logs(self) -> str:
        """Return what containers complained of last: few lines, so that the failure beside them is seen."""
        lines = self.compose("logs", "--no-color", "--tail", "200").splitlines()
        return "\n".join([line for line in lines if any(word in line for word in COMPLAINTS)][-60:])

    def _is_ready(self, counts: Mapping[str, int]) -> bool:
        told = self.status()
        if not told or told["problems"]:
            return False
        has_all = all(len(told[f"{name}s"]) == count for name, count in counts.items())
        return has_all and self.gateways_up_in_haproxy() == counts["gateway"]
