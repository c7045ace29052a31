"""The Kubernetes manifests: valid, consistent in themselves, and true to what the processes do."""

import json
import math
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jambonz_cluster.cli import main
from jambonz_shared.config import CommonSettings, GatewaySettings, WorkerSettings, load_settings
from jambonz_shared.environment import may_be_file, variable_of
from tests.deploy import rendering
from tests.deploy.rendering import (
    KUBERNETES,
    OVERLAYS,
    Object,
    container_of,
    environ_of,
    helmed,
    key_of,
    kustomized,
    named,
    objects_of,
    of_kind,
    pod_labels,
    workloads,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

VERSIONS = ("1.29", "1.32", "1.34")
OURS = ("gateway", "worker", "cluster")

# From the last wish to end to the exit, beyond what settings say: server.py (_drain) and worker.py.
GATEWAY_LEAVES_S = 2.0
WORKER_LEAVES_S = 5.0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", OVERLAYS)
def test_objects_are_valid_for_kubernetes(tools: None, folder: str, version: str, tmp_path: Path) -> None:
    """kubernetes-validate knows no kinds of others; those are judged below."""
    objects = [one for one in objects_of(kustomized(folder)) if "keda.sh" not in one["apiVersion"]]
    path = tmp_path / "objects.yaml"
    # JSON is YAML.
    path.write_text("\n---\n".join(map(json.dumps, objects)))
    rendering.tool("kubernetes-validate", "--strict", "-k", version, str(path))


def test_base_is_what_the_chart_renders(tools: None, tmp_path: Path) -> None:
    """There is one source; who changes it renders again (`make manifests`)."""
    environ = {"HELM": str(rendering.BIN / "helm"), "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", str(KUBERNETES / "render.sh"), str(tmp_path)], env=environ, check=True)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        committed = KUBERNETES / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed} is not what render.sh makes"


def test_helm_and_the_keda_overlay_make_the_same_objects(tools: None) -> None:
    """Both ways lead to one cluster."""
    by_helm = {key_of(one): one for one in objects_of(helmed("--set", "keda.enabled=true"))}
    by_kustomize = {key_of(one): one for one in objects_of(kustomized("overlays/keda"))}
    assert by_helm == by_kustomize


def test_helm_lint_is_content(tools: None) -> None:
    """What helm itself finds wrong is wrong."""
    rendering.tool("helm", "lint", "--strict", str(rendering.CHART))


def test_every_selector_matches_pods(overlay: list[Object]) -> None:
    """A selector with a typing error is valid, and does nothing."""
    pods = [pod_labels(workload) for workload in workloads(overlay)]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= labels.items() for labels in pods)

    for one in overlay:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Service":
                selector = spec["selector"]
            case "NetworkPolicy":
                selector = spec["podSelector"]["matchLabels"]
            case "Deployment" | "StatefulSet" | "PodDisruptionBudget":
                selector = spec["selector"]["matchLabels"]
            case _:
                continue
        assert matches(selector), key_of(one)
    for workload in workloads(overlay):
        for constraint in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]["matchLabels"].items() <= pod_labels(workload).items()


def test_selectors_of_two_workloads_never_overlap(overlay: list[Object]) -> None:
    """Two Deployments that take each other's pods for their own fight for ever."""
    for one in workloads(overlay):
        selector = one["spec"]["selector"]["matchLabels"]
        takers = [key_of(other) for other in workloads(overlay) if selector.items() <= pod_labels(other).items()]
        assert takers == [key_of(one)]


def test_every_scaler_names_a_deployment(overlay: list[Object]) -> None:
    """One scaler for each Deployment at most: two of them fight."""
    deployments = {one["metadata"]["name"] for one in of_kind(overlay, "Deployment")}
    scalers = of_kind(overlay, "HorizontalPodAutoscaler") + of_kind(overlay, "ScaledObject")
    targets = [one["spec"]["scaleTargetRef"]["name"] for one in scalers]
    assert set(targets) <= deployments
    assert len(targets) == len(set(targets))
    for target in targets:
        # A count in the manifest would undo the scaler's at each apply.
        assert "replicas" not in named(overlay, "Deployment", target)["spec"], target


def test_probes_and_services_name_ports_and_paths_that_exist(overlay: list[Object]) -> None:
    """Ports are those of the settings' defaults, paths those of the internal HTTP."""
    ports = {"gateway": {GatewaySettings().port, GatewaySettings().internal_port}, "cluster": {8080}, "redis": {6379}}
    ports["worker"] = {WorkerSettings().internal_port}
    names: dict[str, set[str]] = {}
    for workload in workloads(overlay):
        container = container_of(workload)
        component = pod_labels(workload)["app.kubernetes.io/component"]
        names[component] = {port["name"] for port in container["ports"]}
        assert {port["containerPort"] for port in container["ports"]} == ports[component]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "httpGet" in container.get(probe, {}):
                get = container[probe]["httpGet"]
                assert get["port"] in names[component]
                assert get["path"] in ("/healthz", "/readyz")
        assert container["livenessProbe"].get("httpGet", {}).get("path") != "/readyz", "Redis away is no reason to kill"
    for service in of_kind(overlay, "Service"):
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names[component]
    for policy in of_kind(overlay, "NetworkPolicy"):
        component = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert opened <= names[component]


def test_monitors_scrape_ports_that_exist(tools: None) -> None:
    """No metric is better than a wrong one, but worse than the right one."""
    monitors = objects_of((KUBERNETES / "components/monitoring/monitors.yaml").read_text())
    base = objects_of(kustomized("base"))
    assert [one["kind"] for one in monitors] == ["PodMonitor", "PodMonitor"]
    for monitor in monitors:
        selector = monitor["spec"]["selector"]["matchLabels"]
        (workload,) = [one for one in workloads(base) if selector.items() <= pod_labels(one).items()]
        names = {port["name"] for port in container_of(workload)["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= names


def settings_of(container: Object, model: type[Any]) -> Any:
    """Read a container's variables as the process would; its secrets come from files that are not here."""
    environ = {name: value for name, value in environ_of(container).items() if not name.endswith("_FILE")}
    return load_settings(model, environ=environ)


def test_grace_periods_outlast_the_drain(overlay: list[Object]) -> None:
    """A process that is killed while it drains makes its calls wait; whoever raises a drain raises the grace too."""
    gateway = named(overlay, "Deployment", "jambonz-gateway")
    settings = settings_of(container_of(gateway), GatewaySettings)
    moving_s = math.ceil(settings.max_calls / settings.move_rate) + settings.ack_deadline_s + 1
    needs_s = settings.drain_delay_s + settings.drain_timeout_s + moving_s + GATEWAY_LEAVES_S
    assert gateway["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needs_s
    worker = named(overlay, "Deployment", "jambonz-worker")
    needs_s = settings_of(container_of(worker), WorkerSettings).drain_timeout_s + WORKER_LEAVES_S
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needs_s


def test_longer_drains_of_the_chart_make_longer_grace_periods(tools: None) -> None:
    """The sum is computed, not copied."""
    values = "gateway.drainTimeoutSeconds=600,gateway.moveRate=10,worker.drainTimeoutSeconds=300"
    test_grace_periods_outlast_the_drain(objects_of(helmed("--set", values)))


def test_roll_out_may_bring_all_new_pods_first(tools: None) -> None:
    """So that hardly a call moves to a pod that is still to go."""
    objects = objects_of(helmed("--set", "gateway.maxSurge=100%,worker.maxSurge=50%"))
    surges = [named(objects, "Deployment", f"jambonz-{name}")["spec"]["strategy"] for name in ("gateway", "worker")]
    assert [one["rollingUpdate"] for one in surges] == [
        {"maxSurge": "100%", "maxUnavailable": 0},
        {"maxSurge": "50%", "maxUnavailable": 0},
    ]


def assert_variables_are_settings(objects: list[Object]) -> None:
    models: dict[str, type[CommonSettings]] = {
        "gateway": GatewaySettings,
        "worker": WorkerSettings,
        "cluster": CommonSettings,
    }
    for workload in workloads(objects):
        model = models.get(pod_labels(workload)["app.kubernetes.io/component"])
        if model is not None:
            known = {variable_of(name) for name in model.model_fields}
            # Secrets may come as files; what is a file anyway has a setting of that name.
            known |= {f"{variable_of(name)}_FILE" for name in model.model_fields if may_be_file(model, name)}
            assert environ_of(container_of(workload)).keys() <= known
            settings_of(container_of(workload), model)


def test_every_variable_is_a_setting(overlay: list[Object]) -> None:
    """A misspelt variable is only a warning in a log that nobody reads; a bad value is no start at all."""
    assert_variables_are_settings(overlay)


# Everything that is off by default.
EXTRAS = {
    "gateway.behindProxy": "proxy-protocol",
    "gateway.trustedProxies": "{10.0.1.0/24,10.0.2.0/24}",
    "gateway.credentials": "true",
    "gateway.tlsSecretName": "wss",
    "gateway.extraEnv.JAMBONZ_CLUSTER_MAX_LOGIN_FAILURES": "20",
    "worker.extraEnv.JAMBONZ_CLUSTER_HANDLER_THREADS": "64",
    "extraEnv.JAMBONZ_CLUSTER_CALL_GRACE": "90s",
}


def test_values_that_are_off_by_default_become_settings_and_files(tools: None) -> None:
    """Who needs credentials, TLS, a proxy in front or another limit changes values, no template."""
    objects = objects_of(helmed(*(word for pair in EXTRAS.items() for word in ("--set", "=".join(pair)))))
    assert_variables_are_settings(objects)
    test_secrets_come_as_files_of_the_secret(objects)
    gateway = settings_of(container_of(named(objects, "Deployment", "jambonz-gateway")), GatewaySettings)
    assert (gateway.behind_proxy, gateway.trusted_proxies) == ("proxy-protocol", "10.0.1.0/24,10.0.2.0/24")
    assert (gateway.max_login_failures, gateway.call_grace_s) == (20, 90.0)
    worker = settings_of(container_of(named(objects, "Deployment", "jambonz-worker")), WorkerSettings)
    assert (worker.handler_threads, worker.call_grace_s) == (64, 90.0)


def items_of(objects: list[Object]) -> dict[str, list[str]]:
    """Return what the pods of each Deployment take from the Secret."""
    return {
        one["metadata"]["name"]: [
            item["path"]
            for volume in one["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "secrets"
            for item in volume["secret"]["items"]
        ]
        for one in of_kind(objects, "Deployment")
    }


def test_authority_of_a_redis_with_tls_comes_to_every_process(tools: None, tmp_path: Path) -> None:
    """Managed ones often have an authority of their own; without its file no process ever finds its Redis."""
    by_helm = objects_of(helmed("--set", "redisCa=true"))
    assert items_of(by_helm) == {
        "jambonz-gateway": ["redis-url", "redis-ca", "basic-auth"],
        "jambonz-worker": ["redis-url", "redis-ca"],
        "jambonz-status": ["redis-url", "redis-ca"],
    }
    base = os.path.relpath(KUBERNETES, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{base}/base]\ncomponents: [{base}/components/redis-ca]\n"
    )
    by_kustomize = objects_of(kustomized(str(tmp_path)))
    assert {key_of(one): one for one in by_kustomize} == {key_of(one): one for one in by_helm}


def test_proxy_without_networks_is_no_proxy(tools: None) -> None:
    """Gateways that trust nobody would look as if they knew their callers."""
    with pytest.raises(AssertionError, match=r"gateway\.trustedProxies"):
        helmed("--set", "gateway.behindProxy=headers")


def test_component_puts_gateways_behind_a_proxy(tools: None, tmp_path: Path) -> None:
    """The same for kustomize; its network is one of documentation, so that nobody trusts it by mistake."""
    base = os.path.relpath(KUBERNETES, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{base}/base]\ncomponents: [{base}/components/behind-proxy]\n"
    )
    objects = objects_of(kustomized(str(tmp_path)))
    assert_variables_are_settings(objects)
    gateway = settings_of(container_of(named(objects, "Deployment", "jambonz-gateway")), GatewaySettings)
    assert (gateway.behind_proxy, gateway.trusted_proxies) == ("proxy-protocol", "192.0.2.0/24")


def test_arguments_are_those_of_the_command_line(overlay: list[Object]) -> None:
    """Each container's arguments name a command that exists, with options that it has."""
    for workload in workloads(overlay):
        if pod_labels(workload)["app.kubernetes.io/component"] not in OURS:
            continue
        name, *arguments = container_of(workload)["args"]
        command = main.commands[name]
        context = command.make_context(name, list(arguments), resilient_parsing=False)
        assert context.args == [], shlex.join(arguments)


def test_pods_are_as_little_privileged_as_can_be(overlay: list[Object]) -> None:
    """The restricted Pod Security Standard, a read-only root and no token."""
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        context = container_of(workload)["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_every_container_has_requests_and_limits(overlay: list[Object]) -> None:
    """One that leaks is ended before it takes its neighbours along."""
    for workload in workloads(overlay):
        resources = container_of(workload)["resources"]
        assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}, key_of(workload)


def test_rolling_updates_start_new_pods_first(overlay: list[Object]) -> None:
    """P7: the call that an old gateway lets go of finds a new one."""
    for name in ("jambonz-gateway", "jambonz-worker"):
        strategy = named(overlay, "Deployment", name)["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_secrets_come_as_files_of_the_secret(overlay: list[Object]) -> None:
    """No password in an environment or a manifest; each _FILE is one that the Secret's volume really puts there."""
    for workload in workloads(overlay):
        container = container_of(workload)
        pod = workload["spec"]["template"]["spec"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        files = {
            f"{mounts[volume['name']]}/{item['path']}"
            for volume in pod["volumes"]
            if "secret" in volume
            for item in volume["secret"]["items"]
        }
        wanted = {value for name, value in environ_of(container).items() if name.endswith("_FILE")}
        assert wanted == files


def test_overlays_hold_no_secret_but_the_one_for_laptops(tools: None) -> None:
    """Secrets are made by hand or by a vault, never committed."""
    for folder in OVERLAYS:
        secrets = of_kind(objects_of(kustomized(folder)), "Secret")
        assert len(secrets) == (1 if folder == "overlays/dev" else 0), folder


def test_sentinel_overlay_opens_the_sentinels_port(tools: None) -> None:
    """Otherwise no gateway ever finds its Redis."""
    objects = objects_of(kustomized("overlays/sentinel"))
    for name in ("jambonz-gateway", "jambonz-status"):
        ports = [port["port"] for port in named(objects, "NetworkPolicy", name)["spec"]["egress"][0]["ports"]]
        assert ports == [6379, 26379]


def test_helm_and_the_redis_cluster_overlay_make_the_same_objects(tools: None) -> None:
    """Its servers listen on ports of their own, and each must be reached."""
    by_kustomize = {key_of(one): one for one in objects_of(kustomized("overlays/redis-cluster"))}
    ports = [port["port"] for port in by_kustomize["NetworkPolicy", "jambonz-gateway"]["spec"]["egress"][0]["ports"]]
    assert ports == [6379, *range(7000, 7006)]
    listed = ",".join(map(str, ports))
    by_helm = {key_of(one): one for one in objects_of(helmed("--set", f"networkPolicy.redisPorts={{{listed}}}"))}
    assert by_helm == by_kustomize


def test_scaled_object_reads_the_dispatch_stream(tools: None) -> None:
    """KEDA's schema is in no registry: its fields are judged here, after KEDA's documentation of redis-streams."""
    from jambonz_shared.keys import GROUP, Keys

    scaled = named(objects_of(kustomized("overlays/keda")), "ScaledObject", "jambonz-worker")
    stream, cpu = scaled["spec"]["triggers"]
    assert stream["type"] == "redis-streams"
    assert stream["metadata"]["stream"] == Keys().dispatch("default")
    assert stream["metadata"]["consumerGroup"] == GROUP
    assert all(isinstance(value, str) for value in (*stream["metadata"].values(), *cpu["metadata"].values()))
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]
