"""What every overlay keeps to: who runs, what is asked and when, and that what is named is there."""

import re
import subprocess

import pytest
import yaml
from click.testing import CliRunner

from penstock.producers.gateway.settings import GatewaySettings
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.cli.root import root
from penstock.workers.settings import WorkerSettings
from tests.deploy.dockerfile import ROOT
from tests.deploy.kubernetes_kit import (
    OVERLAYS,
    PROCESSES,
    Manifest,
    build,
    containers,
    environment,
    everywhere,
    labels_match,
    of_kind,
    of_penstock,
    process,
    templates,
    the,
)

MODELS = (WorkerSettings, GatewaySettings, BackupSettings)
SETTINGS = {str(field.alias) for model in MODELS for field in model.model_fields.values()}


def test_nobody_is_root_or_writes_where_an_image_is() -> None:
    for _, template, container in everywhere():
        pod, own = template["spec"].get("securityContext", {}), container["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert int(own.get("runAsUser", pod.get("runAsUser"))) > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}


def test_nobody_has_a_token_of_kubernetes() -> None:
    for overlay in OVERLAYS:
        for template in templates(overlay).values():
            assert template["spec"]["automountServiceAccountToken"] is False
        for account in of_kind(overlay, "ServiceAccount").values():
            assert account["automountServiceAccountToken"] is False


def test_every_namespace_enforces_the_restricted_standard() -> None:
    for overlay in set(OVERLAYS) - {"canary"}:
        ((name, namespace),) = of_kind(overlay, "Namespace").items()
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        outside = {one["metadata"].get("namespace", name) for one in build(overlay)} - {name}
        assert outside == set()


def test_images_are_named_by_a_release() -> None:
    for _, _, container in everywhere():
        assert re.search(r":[A-Za-z0-9][\w.-]*$|@sha256:[0-9a-f]{64}$", container["image"]), container["image"]
        assert not container["image"].endswith(":latest")


def test_every_variable_is_a_setting_that_exists() -> None:
    seen = set()
    for overlay, _, container in of_penstock():
        for name in environment(overlay, container):
            seen.add(name)
            assert name.removesuffix("_FILE") in SETTINGS, name
    assert {"DATABASE_URL_FILE", "PENSTOCK_POOL_MAX", "PENSTOCK_REPLICA_ACKS", "PENSTOCK_PREPARE_STATEMENTS"} <= seen


def test_settings_have_values_that_are_taken() -> None:
    for overlay, _, container in of_penstock():
        found = {name: value for name, value in environment(overlay, container).items() if not name.endswith("_FILE")}
        urls = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x"}
        for model in (WorkerSettings, GatewaySettings):
            model.from_environment(found | urls)


def test_no_secret_is_a_variable() -> None:
    secret = {str(field.alias) for model in MODELS for field in model.model_fields.values() if not field.repr}
    assert len(secret) > 8
    for overlay, _, container in of_penstock():
        assert not secret & set(environment(overlay, container))


def test_every_secret_file_is_mounted_and_documented() -> None:
    document = (ROOT / "docs" / "deployment.md").read_text()
    for overlay, template, container in of_penstock():
        if container["args"][0] == "backup":
            continue  # its own page and tests
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        volumes = {one["name"]: one for one in template["spec"]["volumes"]}
        for name, value in environment(overlay, container).items():
            if name.endswith("_FILE"):
                folder, _, key = value.rpartition("/")
                assert volumes[mounts[folder]]["secret"]["secretName"] in document
                assert key in document, (name, key)


def test_every_volume_is_used_and_every_mount_is_there() -> None:
    for overlay in OVERLAYS:
        for template in templates(overlay).values():
            mounted = {one["name"] for container in containers(template) for one in container["volumeMounts"]}
            assert mounted == {one["name"] for one in template["spec"]["volumes"]}


def test_every_command_parses() -> None:
    seen = set()
    for _, _, container in of_penstock():
        arguments = container["args"]
        done = CliRunner().invoke(root, [*arguments, "--help"])
        assert done.exit_code == 0, arguments
        seen.add(arguments[0])
    assert seen == {"gateway", "worker", "scheduler", "sidecar", "migrate", "backup", "verify"}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kind", PROCESSES)
def test_probes_and_resources_are_the_agreed_ones(overlay: str, kind: str) -> None:
    template, main = process(overlay, kind)
    sidecar = template["spec"]["initContainers"][0]
    for container in (main, sidecar):
        live, ready = container["livenessProbe"], container["readinessProbe"]
        assert (live["initialDelaySeconds"], live["periodSeconds"]) == (30, 10)
        assert (ready["initialDelaySeconds"], ready["periodSeconds"]) == (5, 5)
    assert main["resources"] == {
        "requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kind", PROCESSES)
def test_probes_ask_what_answers(overlay: str, kind: str) -> None:
    template, main = process(overlay, kind)
    (sidecar,) = template["spec"]["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"], sidecar["args"]) == ("sidecar", "Always", ["sidecar"])
    for container in (main, sidecar):
        ports = {one["name"]: one["containerPort"] for one in container.get("ports", [])}
        listens = {int(value.rpartition(":")[2]) for name, value in environment(overlay, container).items()
                   if name.endswith("_LISTEN")}  # fmt: skip
        assert set(ports.values()) == listens
        for probe in (container["livenessProbe"], container["readinessProbe"]):
            if "exec" in probe:
                assert probe["exec"]["command"] == ["penstock-alive", kind]
            else:
                assert probe["httpGet"]["port"] in ports
                assert probe["httpGet"]["path"] in {"/health/live", "/health/ready"}
    # A machine's processes meet in one folder, which is a volume.
    run = {
        one["mountPath"] for container in (main, sidecar) for one in container["volumeMounts"] if one["name"] == "run"
    }
    assert run == {"/run/penstock"}


def test_the_sidecars_are_one() -> None:
    for overlay in OVERLAYS:
        sidecars = [process(overlay, kind)[0]["spec"]["initContainers"][0] for kind in PROCESSES]
        assert sidecars[0] == sidecars[1] == sidecars[2]


def test_services_and_monitors_lead_to_ports_that_exist() -> None:
    for overlay in set(OVERLAYS) - {"canary"}:
        all_pods = templates(overlay).values()
        for service in of_kind(overlay, "Service").values():
            selected = [one for one in all_pods if labels_match({"matchLabels": service["spec"]["selector"]},
                                                                one["metadata"]["labels"])]  # fmt: skip
            assert selected, service["metadata"]["name"]
            for template in selected:
                assert {one["targetPort"] for one in service["spec"]["ports"]} <= port_names(template)
        for monitor in of_kind(overlay, "PodMonitor").values():
            watched = [one for one in all_pods if labels_match(monitor["spec"]["selector"], one["metadata"]["labels"])]
            assert len(watched) == 3
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            assert endpoint["path"] == "/metrics"
            assert all(endpoint["port"] in port_names(template) for template in watched)


def port_names(template: Manifest) -> set[str]:
    return {port["name"] for container in containers(template) for port in container.get("ports", [])}


def test_the_pages_are_served_while_servers_are_away() -> None:
    service = the("production", "Service", "penstock-sidecar")
    assert service["spec"]["publishNotReadyAddresses"] is True


def test_servers_for_trials_find_the_files_that_they_read() -> None:
    """Of deploy/compose, as docs/deployment.md puts them into the cluster."""
    document = (ROOT / "docs" / "deployment.md").read_text()
    for name, file in (("postgres", "postgres/logins.sql"), ("redis", "redis/redis.conf")):
        (container,) = templates("development")[name]["spec"]["containers"]
        text = (ROOT / "deploy" / "compose" / file).read_text() + str(container.get("env"))
        read = set(re.findall(r"(/run/secrets/[\w./]+)", text))
        assert read
        for path in read:
            assert path.rpartition("/")[0] in {one["mountPath"] for one in container["volumeMounts"]}
            assert f"--from-file={path.rpartition('/')[2]}" in document
        assert f"--from-file=deploy/compose/{file}" in document


def test_the_documented_rules_for_prometheus_operator_are_the_alerts() -> None:
    document = (ROOT / "docs" / "deployment.md").read_text()
    (command,) = re.findall(r"^({ printf .*?}) \| kubectl", document, re.DOTALL | re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True)
    made = yaml.safe_load(done.stdout)
    assert made["kind"] == "PrometheusRule"
    assert made["spec"] == yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yml").read_text())
