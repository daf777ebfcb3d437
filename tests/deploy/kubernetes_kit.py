"""The manifests of deploy/kubernetes as kustomize builds them."""

import math
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.debian import require_program
from tests.deploy.dockerfile import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
#: What the operators of KEDA and of Prometheus define; nobody else's checker knows these.
CUSTOM = {"ScaledObject", "PodMonitor"}

#: What Penstock is; each has a workload of its own.
PROCESSES = ("gateway", "worker", "scheduler")

Manifest = dict[str, Any]
#: An overlay, a template of pods in it, and a container of that.
Found = tuple[str, Manifest, Manifest]


@cache
def build(overlay: str) -> tuple[Manifest, ...]:
    """What `kubectl kustomize` makes of an overlay."""
    kubectl = require_program("kubectl", "kubernetes-client")
    done = subprocess.run(
        [kubectl, "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    """The manifests of a kind by name."""
    return {one["metadata"]["name"]: one for one in build(overlay) if one["kind"] == kind}


def the(overlay: str, kind: str, name: str) -> Manifest:
    """The one of that name."""
    return of_kind(overlay, kind)[name]


def pods_of(manifest: Manifest) -> Manifest | None:
    """The template of the pods that a manifest makes."""
    spec: Manifest = manifest.get("spec", {})
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template") if manifest["kind"] in {"Deployment", "Job", "CronJob"} else None


def templates(overlay: str) -> dict[str, Manifest]:
    """All templates of pods, by the name of what makes them."""
    found = [(one["metadata"]["name"], pods_of(one)) for one in build(overlay)]
    return {name: template for name, template in found if template is not None}


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod, native sidecars first."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def environment(overlay: str, container: Manifest) -> dict[str, str]:
    """A container's variables; its ConfigMaps' first, as Kubernetes puts them together."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        reference = source["configMapRef"]
        config = of_kind(overlay, "ConfigMap").get(reference["name"])
        assert config is not None or reference.get("optional"), reference
        found |= config["data"] if config else {}
    return found | {one["name"]: one["value"] for one in container.get("env", [])}


def labels_match(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes an object."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", one
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True


def most_pods(overlay: str, name: str) -> int:
    """Pods of a Deployment at the most, those that a roll-out adds included."""
    deployment = the(overlay, "Deployment", name)
    bounds = [one["spec"]["maxReplicas"] for one in autoscalers(overlay, name, "HorizontalPodAutoscaler")]
    bounds += [one["spec"]["maxReplicaCount"] for one in autoscalers(overlay, name, "ScaledObject")]
    most: int = bounds[0] if bounds else deployment["spec"]["replicas"]
    surge = deployment["spec"]["strategy"].get("rollingUpdate", {}).get("maxSurge", 0)
    if isinstance(surge, str):
        return most + math.ceil(most * int(surge.rstrip("%")) / 100)
    return most + int(surge)


def autoscalers(overlay: str, name: str, kind: str) -> Iterator[Manifest]:
    """What scales a Deployment."""
    for one in of_kind(overlay, kind).values():
        if one["spec"]["scaleTargetRef"]["name"] == name:
            yield one


def everywhere() -> Iterator[Found]:
    """All containers of all overlays."""
    for overlay in OVERLAYS:
        for template in templates(overlay).values():
            for container in containers(template):
                yield overlay, template, container


def of_penstock() -> Iterator[Found]:
    """Those that run Penstock's own commands."""
    for overlay, template, container in everywhere():
        if re.search(r"(^|/)penstock(-backup)?(:|@|$)", container["image"]):
            yield overlay, template, container


def process(overlay: str, kind: str) -> tuple[Manifest, Manifest]:
    """A workload's template and its main container."""
    suffix = "-canary" if overlay == "canary" else ""
    template = templates(overlay)[f"penstock-{kind}{suffix}"]
    (container,) = template["spec"]["containers"]
    return template, container
