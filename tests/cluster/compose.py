"""The project's docker-compose.yml, run for real, with hands to scale, kill and replace its containers."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

from jambonz_cluster.embedded_redis import free_port
from tests.cluster.engine import Engine
from tests.conditions import until_now

PROJECT: Final = "jc-test"
UP_LIMIT_S: Final = 420.0
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

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.port = free_port()
        self.status_port = free_port()
        ports = {"PORT": self.port, "STATUS_PORT": self.status_port, "PROMETHEUS_PORT": free_port()}
        engine.environ |= {**SETTINGS, **{name: str(port) for name, port in ports.items()}}
        engine.environ["COMPOSE_PROJECT_NAME"] = PROJECT

    @property
    def url(self) -> str:
        """Where jambonz connects to."""
        return f"ws://127.0.0.1:{self.port}/ivr"

    def up(self, **scale: int) -> None:
        """Start or scale the services, ``gateway=3``; return when all that take calls are ready.

        Services that are not named keep what they have.
        """
        for service, count in scale.items():
            self.engine.environ[f"{service.upper()}S"] = str(count)
        self.compose("up", "-d", limit_s=UP_LIMIT_S)
        counts = {name: int(self.engine.environ[f"{name.upper()}S"]) for name in ("gateway", "worker")}
        until_now(lambda: self._is_ready(counts), f"{counts} are ready", limit_s=READY_LIMIT_S)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self.compose("down", "-v", "--remove-orphans", "-t", "2", limit_s=120)

    def compose(self, *arguments: str, limit_s: float = 120.0) -> str:
        """Run Compose on the project."""
        return self.engine.run("docker-compose", *arguments, limit_s=limit_s)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        filters = (f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}")
        out = self.engine.run("docker", "ps", "-q", *(f"--filter={one}" for one in filters))
        return out.split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of a container."""
        found: dict[str, Any] = json.loads(self.engine.run("docker", "inspect", container))[0]
        return found

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

    def logs(self) -> str:
        """Return the last lines of all containers, for a report."""
        return self.compose("logs", "--no-color", "--tail", "60")

    def _is_ready(self, counts: Mapping[str, int]) -> bool:
        told = self.status()
        if not told or told["problems"]:
            return False
        has_all = all(len(told[f"{name}s"]) == count for name, count in counts.items())
        return has_all and self.gateways_up_in_haproxy() == counts["gateway"]
