"""docker-compose.yml and what belongs to it, read and compared with the code."""

import math
import re
import subprocess
from pathlib import Path

import pytest

from jambonz_gateway.metrics import SESSION_EVENTS, Metrics
from jambonz_gateway.peers import Proxies
from jambonz_shared.config import CommonSettings, GatewaySettings, WorkerSettings
from jambonz_shared.environment import PREFIX, load_settings, variable_of
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


def service(name: str) -> str:
    """Return the lines of a service."""
    (lines,) = re.findall(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    return str(lines)


def environ_of(name: str) -> dict[str, str]:
    """Return our variables of a service with their defaults, those that all services share included."""
    shared, rest = COMPOSE.split("\nservices:\n", 1)
    assert rest
    lines = re.findall(rf"({PREFIX}[A-Z_]+): (.*)$", shared + service(name), re.MULTILINE)
    return {variable: re.sub(r"\$\{([A-Z_]+):-[^}]*\}", lambda it: DEFAULTS[it[1]], value) for variable, value in lines}


def test_load_test_in_containers_takes_every_setting_of_the_locustfile() -> None:
    """One that Compose does not hand on is ignored without a word: who sets ANY_APP=1 sees each call fail."""
    read = set(re.findall(r"environ\.get\(\"([A-Z0-9_]+)\"", (REPO / "loadtest/locustfile.py").read_text()))
    assert read >= {"CALLS_PER_SECOND", "ANY_APP", "FAILED_SHARE"}
    assert read <= set(re.findall(r"^      ([A-Z0-9_]+): ", service("load-master"), re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "model"), [("gateway", GatewaySettings), ("worker", WorkerSettings), ("cluster", CommonSettings)]
)
def test_every_variable_of_a_service_is_a_setting_of_its_role(name: str, model: type[CommonSettings]) -> None:
    """A misspelt variable is only a warning in a log that nobody reads; a bad default is no start at all."""
    environ = environ_of(name)
    assert environ.keys() <= {variable_of(field) for field in model.model_fields}
    assert load_settings(model, environ=environ).key_prefix == DEFAULTS["KEY_PREFIX"]


def test_settings_repeated_here_have_the_defaults_of_the_code() -> None:
    """Limits are written down to be found; whoever changes one in the code changes it here."""
    given = load_settings(GatewaySettings, environ=environ_of("gateway"))
    for name in ("max_login_failures", "max_call_event_rate", "max_account_event_rate", "max_held_bytes"):
        assert getattr(given, name) == getattr(GatewaySettings(), name), name
    assert given.call_grace_s == GatewaySettings().call_grace_s
    worker = load_settings(WorkerSettings, environ=environ_of("worker"))
    for name in ("handler_threads", "max_waiting_bytes"):
        assert getattr(worker, name) == getattr(WorkerSettings(), name), name


def test_gateways_take_the_callers_address_from_the_balancer_alone() -> None:
    """Otherwise a guesser locks out everybody behind haproxy, or invents an address for each guess (SECURITY.md)."""
    given = load_settings(GatewaySettings, environ=environ_of("gateway"))
    config = (REPO / "deploy/haproxy/haproxy.cfg").read_text()
    assert re.search(r"^\s+default-server send-proxy-v2$", config, re.MULTILINE)
    assert given.behind_proxy == "proxy-protocol"
    proxies = Proxies.parse(given.trusted_proxies)
    # One of each pool that Docker takes networks from (docs.docker.com, default-address-pools), Swarm's included.
    assert all(proxies.trusts(address) for address in ("172.17.0.2", "172.31.255.7", "192.168.16.2", "10.0.0.3"))
    assert not proxies.trusts("203.0.113.7")
    # What makes that trust safe: nobody outside reaches the gateways but through haproxy.
    assert "ports:" not in service("gateway")
    assert "networks: [inside]\n" in service("gateway")
    assert "inside: {internal: true}" in COMPOSE


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
    of_server = (
        "calls",
        "redis_up",
        "owed_acks",
        "backlog_bytes",
        "held_bytes",
        "tasks",
        "certificate_good_until_seconds",
    )
    for gauge in of_server:
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


def test_every_lock_file_is_written_by_one_command() -> None:
    """One that is left out stays at the versions of its first day, mistakes that are mended elsewhere included."""
    shown = subprocess.run(["make", "--dry-run", "lock"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    written = set(re.findall(r"--output-file (\S+)", shown))
    folders = (REPO, REPO / "deploy" / "requirements", REPO / "tests" / "bench" / "requirements")
    there = {str(lock.relative_to(REPO)) for folder in folders for lock in folder.glob("*.lock")}
    assert written == there


def test_lock_files_name_no_registry() -> None:
    """Everybody has another one; whoever wrote it last would decide where all others download from."""
    locks = (REPO / "requirements.lock", *(REPO / "deploy" / "requirements").glob("*.lock"))
    assert [lock.name for lock in locks if "://" in lock.read_text() or "--index" in lock.read_text()] == []


def test_images_are_built_from_versions_of_the_lock_file() -> None:
    """What was tested is what runs: the images' locks pin nothing that requirements.lock does not pin alike."""

    def pins(path: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9_.\[\]-]+)==(\S+)", (REPO / path).read_text(), re.MULTILINE))

    tested = pins("requirements.lock")
    image = pins("deploy/requirements/image.lock")
    assert {name: pin for name, pin in image.items() if name != "dumb-init"}.items() <= tested.items()
    load = pins("deploy/requirements/load.lock")
    assert {name: load[name] for name in load.keys() & tested.keys()}.items() <= tested.items()
