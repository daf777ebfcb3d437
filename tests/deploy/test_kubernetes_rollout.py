"""Roll-outs, stops, disruptions, autoscalers, the canary and the migration, as each overlay has them."""

import re
from typing import Any

import pytest

from tests.deploy.dockerfile import ROOT
from tests.deploy.kubernetes_kit import (
    OVERLAYS,
    PROCESSES,
    autoscalers,
    build,
    environment,
    labels_match,
    of_kind,
    of_penstock,
    process,
    the,
)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_stops_is_given_its_time(overlay: str) -> None:
    for kind in PROCESSES:
        template, main = process(overlay, kind)
        shutdown = float(environment(overlay, main)["PENSTOCK_SHUTDOWN_SECONDS"]) if kind == "worker" else 5
        pause = main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # 5 s to give back what is unfinished, and 5 s for the sidecar, which stops last.
        assert template["spec"]["terminationGracePeriodSeconds"] >= pause + shutdown + 5 + 5


def test_a_roll_out_takes_no_pod_before_another_is_ready() -> None:
    for overlay in OVERLAYS:
        suffix = "-canary" if overlay == "canary" else ""
        for kind in PROCESSES:
            strategy = the(overlay, "Deployment", f"penstock-{kind}{suffix}")["spec"]["strategy"]
            assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}


def test_disruptions_take_one_at_a_time_and_pods_stand_apart() -> None:
    for overlay in set(OVERLAYS) - {"canary"}:
        for name in PROCESSES:
            template, _ = process(overlay, name)
            budget = the(overlay, "PodDisruptionBudget", f"penstock-{name}")["spec"]
            assert budget["maxUnavailable"] == 1
            assert labels_match(budget["selector"], template["metadata"]["labels"])
            keys = {one["topologyKey"] for one in template["spec"]["topologySpreadConstraints"]}
            assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


#: As the seeds of the project have it.
BEHAVIOUR: dict[str, Any] = {
    "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
    },
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_autoscaler_holds_a_deployment_and_nothing_else_does(overlay: str) -> None:
    for name, deployment in of_kind(overlay, "Deployment").items():
        found = [
            one for kind in ("HorizontalPodAutoscaler", "ScaledObject") for one in autoscalers(overlay, name, kind)
        ]
        assert len(found) <= 1
        assert bool(found) != ("replicas" in deployment["spec"])
    for one in (*of_kind(overlay, "HorizontalPodAutoscaler").values(), *of_kind(overlay, "ScaledObject").values()):
        assert one["spec"]["scaleTargetRef"]["name"] in of_kind(overlay, "Deployment")


def test_the_plain_autoscaler_is_the_agreed_one() -> None:
    spec = the("production", "HorizontalPodAutoscaler", "penstock-gateway")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 20)
    targets = {
        one["containerResource"]["name"]: one["containerResource"]["target"]["averageUtilization"]
        for one in spec["metrics"]
    }
    assert targets == {"cpu": 70, "memory": 80}
    assert spec["behavior"] == BEHAVIOUR
    worker = the("staging", "HorizontalPodAutoscaler", "penstock-worker")["spec"]
    assert worker["behavior"] == BEHAVIOUR
    assert {one["containerResource"]["container"] for one in worker["metrics"]} == {"worker"}


def test_keda_asks_for_the_runnable_backlog_where_it_is() -> None:
    for overlay in ("production", "production-pooled"):
        scaled = the(overlay, "ScaledObject", "penstock-worker")
        (trigger,) = scaled["spec"]["triggers"]
        found = re.fullmatch(r"http://([a-z-]+)\.([a-z-]+)\.svc:(\d+)(/.*)", trigger["metadata"]["url"])
        assert found is not None
        service = the(overlay, "Service", found[1])
        assert found[2] == scaled["metadata"]["namespace"] == service["metadata"]["namespace"]
        assert int(found[3]) in {one["port"] for one in service["spec"]["ports"] if one["name"] == "probes"}
        assert found[4] == "/api/v1/autoscale"
        _, worker = process(overlay, "worker")
        # 30 s of work for each thread.
        threads = int(environment(overlay, worker)["PENSTOCK_WORKER_THREADS"])
        assert float(trigger["metadata"]["targetValue"]) == 30 * threads
        scale_down = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert scale_down == BEHAVIOUR["scaleDown"]
        assert scaled["spec"]["minReplicaCount"] >= 2


def test_three_replicas_to_start_from() -> None:
    text = (ROOT / "deploy" / "kubernetes" / "workloads" / "worker.yaml").read_text()
    assert "\n  replicas: 3\n" in text
    assert the("production", "Deployment", "penstock-scheduler")["spec"]["replicas"] == 2


def test_a_canary_is_production_but_for_its_image_and_name() -> None:
    for kind in PROCESSES:
        (template, main), (usual_template, usual) = process("canary", kind), process("production", kind)
        differing = {"image", "envFrom"}
        assert {**main, **dict.fromkeys(differing)} == {**usual, **dict.fromkeys(differing)}
        assert main["image"] != usual["image"]
        own, settings = environment("canary", main), environment("production", usual)
        assert {name for name in own | settings if own.get(name) != settings.get(name)} == {"PENSTOCK_ENVIRONMENT"}
        assert template["metadata"]["labels"] == usual_template["metadata"]["labels"] | {"penstock.io/track": "canary"}
        # Each Deployment takes its own pods alone, the Service both.
        deployment = the("canary", "Deployment", f"penstock-{kind}-canary")
        assert not labels_match(deployment["spec"]["selector"], usual_template["metadata"]["labels"])
        assert not labels_match(
            the("production", "Deployment", f"penstock-{kind}")["spec"]["selector"], template["metadata"]["labels"]
        )
    names = {one["kind"] for one in build("canary")}
    assert names == {"ConfigMap", "Deployment"}


def test_the_migration_comes_first_and_alone_may_change_the_schema() -> None:
    job = the("production", "Job", "penstock-migrate")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync"
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "migration"
    # Nothing that it needs comes with the same step but the Secrets, which stand before.
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "envFrom" not in container
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]
    for overlay, _, other in of_penstock():
        if other["args"][0] not in {"migrate", "backup"}:
            assert "PENSTOCK_MIGRATION_DATABASE_URL_FILE" not in environment(overlay, other)


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"canary"}))
def test_the_verification_comes_last_and_asks_what_is_there(overlay: str) -> None:
    job = the(overlay, "Job", "penstock-verify")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PostSync"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    addresses = dict(re.findall(r"--(\w+)=http://([a-z-]+:\d+)", " ".join(container["args"])))
    assert set(addresses) == {"gateway", "sidecar"}
    for address in addresses.values():
        name, _, port = address.partition(":")
        assert int(port) in {one["port"] for one in the(overlay, "Service", name)["spec"]["ports"]}
    # Its settings are those of the processes; what it can read of secrets is what they have between them.
    _, worker = process(overlay, "worker")
    assert container["envFrom"] == worker["envFrom"]
    of_processes = {name for kind in PROCESSES for name in environment(overlay, process(overlay, kind)[1])}
    assert set(environment(overlay, container)) <= of_processes
