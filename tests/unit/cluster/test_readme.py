"""What the README says can be typed as it stands there."""

import itertools
import re
from pathlib import Path
from typing import Final

from jambonz_shared.config import GatewaySettings, ProcessSettings, WorkerSettings

REPO: Final = Path(__file__).resolve().parents[3]
SETTINGS: Final[dict[str, type[ProcessSettings]]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
}


def internal_ports(line: str) -> set[int]:
    """Return the ports that all processes of a command listen on for probes and metrics."""
    words = line.split()
    given = {
        flag[2:].replace("-", "_"): value
        for flag, value in itertools.pairwise(words)
        if flag in ("--processes", "--internal-port")
    }
    settings = SETTINGS[words[1]].model_validate(given)
    return {settings.internal_port_of(index) for index in range(settings.processes)}


def test_gateways_and_workers_of_the_readme_fit_on_one_machine() -> None:
    """Who types both commands into one machine must not find that a port is taken."""
    readme = (REPO / "README.md").read_text()
    lines = re.findall(r"^jambonz-cluster (?:gateway|worker) .*--processes.*$", readme, re.MULTILINE)
    ports = [internal_ports(line) for line in lines]
    assert len(ports) == 2
    assert len(set.union(*ports)) == sum(map(len, ports))
