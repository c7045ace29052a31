"""docker-compose.yml and what belongs to it, read and compared with the code."""

import math
import re
from pathlib import Path

from jambonz_gateway.metrics import SESSION_EVENTS, Metrics
from jambonz_shared.config import GatewaySettings, WorkerSettings
from jambonz_shared.environment import PREFIX, variable_of
from jambonz_shared.units import parse_duration_s
from jambonz_workers.metrics import WorkerMetrics

REPO = Path(__file__).resolve().parents[2]
COMPOSE = (REPO / "docker-compose.yml").read_text()
EXAMPLE = (REPO / ".env.example").read_text()

DEFAULTS = dict(re.findall(r"(?<!\$)\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))


def test_example_lists_every_variable_with_its_default() -> None:
    """Who copies the file changes nothing; who reads it knows all there is."""
    listed = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    # Read by Compose itself.
    assert listed.pop("COMPOSE_PROJECT_NAME") == "jambonz-cluster"
    assert listed == DEFAULTS


def test_every_variable_of_the_services_is_a_setting() -> None:
    """A misspelt variable is only a warning in a log that nobody reads."""
    known = {variable_of(name) for model in (GatewaySettings, WorkerSettings) for name in model.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", COMPOSE)) <= known


def test_grace_periods_outlast_the_drain() -> None:
    """A process that is killed while it drains makes its calls wait."""
    gateway_s = (
        parse_duration_s(DEFAULTS["GATEWAY_DRAIN_DELAY"])
        + parse_duration_s(DEFAULTS["GATEWAY_DRAIN_TIMEOUT"])
        + math.ceil(int(DEFAULTS["GATEWAY_MAX_CALLS"]) / int(DEFAULTS["GATEWAY_MOVE_RATE"]))
        + GatewaySettings().ack_deadline_s
        + 3
    )
    assert parse_duration_s(DEFAULTS["GATEWAY_STOP_GRACE"]) > gateway_s
    assert parse_duration_s(DEFAULTS["WORKER_STOP_GRACE"]) > parse_duration_s(DEFAULTS["WORKER_DRAIN_TIMEOUT"]) + 5


def test_balancer_gives_silent_websockets_more_time_than_pings_need() -> None:
    """Otherwise it cuts calls in which nobody speaks."""
    config = (REPO / "deploy/haproxy/haproxy.cfg").read_text()
    (minutes,) = re.findall(r"timeout server\s+(\d+)m", config)
    longest_ping_s = next(
        mark.le for mark in GatewaySettings.model_fields["ping_interval_s"].metadata if hasattr(mark, "le")
    )
    assert int(minutes) * 60 >= 2 * longest_ping_s
    assert f"port {GatewaySettings().internal_port}" in config
    assert re.search(r"^\s+mode tcp$", config, re.MULTILINE), "an HTTP answer of the balancer ends calls for good"


def test_every_metric_of_the_alerts_exists() -> None:
    """An alert on a name that nobody shows never fires."""
    rules = (REPO / "deploy/prometheus/rules.yml").read_text()
    dashboards = "".join(path.read_text() for path in (REPO / "deploy/grafana").rglob("*.json"))
    gateway = Metrics()
    # As server.py shows it.
    for gauge in ("calls", "redis_up", "owed_acks", "backlog_bytes", "held_bytes", "tasks"):
        gateway.gauge(gauge, "test", lambda: 0.0)
    shown = {
        name
        for registry in (gateway.registry, WorkerMetrics().registry)
        for metric in registry.collect()
        for name in (metric.name, f"{metric.name}_total", f"{metric.name}_bucket", f"{metric.name}_count")
    }
    named = set(re.findall(r"jambonz_[a-z_0-9]+", rules + dashboards))
    assert named <= shown
    assert set(re.findall(r'event=\\?"([a-z_]+)\\?"', rules + dashboards)) <= set(SESSION_EVENTS)


def test_images_are_built_from_versions_of_the_lock_file() -> None:
    """What was tested is what runs: the images' locks pin nothing that requirements.lock does not pin alike."""

    def pins(path: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9_.\[\]-]+)==(\S+)", (REPO / path).read_text(), re.MULTILINE))

    tested = pins("requirements.lock")
    image = pins("deploy/requirements/image.lock")
    assert {name: pin for name, pin in image.items() if name != "dumb-init"}.items() <= tested.items()
    load = pins("deploy/requirements/load.lock")
    assert {name: load[name] for name in load.keys() & tested.keys()}.items() <= tested.items()
