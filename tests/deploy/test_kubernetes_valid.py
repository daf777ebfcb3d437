"""Each overlay is built by kustomize, and what it makes is what Kubernetes, KEDA and the Prometheus operator take.

Kubernetes' own kinds are checked against its schemas (kubernetes-validate), which refuse unknown fields. For the kinds
of the two operators there is no such package: they are checked against the fragments below, written by hand from their
references for the fields that are used here. They are no proof that an operator takes them.
"""

from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.kubernetes_kit import CUSTOM, FOLDER, OVERLAYS, build

#: The oldest that the manifests are written for, and one that is new.
RELEASES = ("1.30", "1.37")

_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def _resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _object(["name"], name=_NAME, namespace=_NAME, labels=_LABELS, annotations=_LABELS)
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_SCALING_RULES = _object(
    ["stabilizationWindowSeconds", "policies"],
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    policies={
        "type": "array",
        "minItems": 1,
        "items": _object(
            ["type", "value", "periodSeconds"],
            type={"enum": ["Percent", "Pods"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        ),
    },
)
_SCALED_OBJECT = _resource(
    "keda.sh/v1alpha1",
    "ScaledObject",
    _object(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=_object(["name"], apiVersion={"const": "apps/v1"}, kind={"const": "Deployment"}, name=_NAME),
        pollingInterval={"type": "integer", "minimum": 1},
        cooldownPeriod={"type": "integer", "minimum": 0},
        minReplicaCount={"type": "integer", "minimum": 0},
        maxReplicaCount={"type": "integer", "minimum": 1},
        triggers={
            "type": "array",
            "minItems": 1,
            "items": _object(
                ["type", "metadata"],
                type={"const": "metrics-api"},
                metricType={"enum": ["AverageValue", "Value"]},
                # All of a trigger's metadata are texts, numbers too.
                metadata=_object(
                    ["url", "valueLocation", "targetValue"],
                    url={"type": "string", "pattern": r"^http://[a-z.-]+:[0-9]+/"},
                    valueLocation={"type": "string"},
                    targetValue={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
                ),
            ),
        },
        advanced=_object(
            ["horizontalPodAutoscalerConfig"],
            horizontalPodAutoscalerConfig=_object(
                ["behavior"], behavior=_object([], scaleUp=_SCALING_RULES, scaleDown=_SCALING_RULES)
            ),
        ),
    ),
)
_POD_MONITOR = _resource(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    _object(
        ["selector", "podMetricsEndpoints"],
        selector=_object(
            [],
            matchLabels=_LABELS,
            matchExpressions={
                "type": "array",
                "items": _object(
                    ["key", "operator"],
                    key={"type": "string"},
                    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    values={"type": "array", "items": {"type": "string"}},
                ),
            },
        ),
        podMetricsEndpoints={
            "type": "array",
            "minItems": 1,
            "items": _object(
                ["port"], port=_NAME, path={"type": "string"}, interval=_DURATION, scrapeTimeout=_DURATION
            ),
        },
        podTargetLabels={"type": "array", "items": {"type": "string"}},
    ),
)
FRAGMENTS = {"ScaledObject": _SCALED_OBJECT, "PodMonitor": _POD_MONITOR}


def test_every_folder_is_part_of_an_overlay() -> None:
    assert OVERLAYS == ["canary", "development", "production", "production-pooled", "staging"]
    listed = "".join(path.read_text() for path in FOLDER.rglob("kustomization.yaml"))
    for path in FOLDER.rglob("kustomization.yaml"):
        folder = path.parent.relative_to(FOLDER)
        assert folder.parts[0] == "overlays" or f"/{folder}\n" in listed, folder


def test_every_file_is_part_of_its_folder() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.name != "kustomization.yaml":
            assert f"- {path.name}\n" in (path.parent / "kustomization.yaml").read_text(), path


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_it(overlay: str, release: str) -> None:
    own = [one for one in build(overlay) if one["kind"] not in CUSTOM]
    assert len(own) > 3
    for manifest in own:
        assert kubernetes_validate.validate(manifest, release, strict=True).startswith(release)


def test_operators_resources_are_as_the_fragments_say() -> None:
    found = [one for overlay in OVERLAYS for one in build(overlay) if one["kind"] in CUSTOM]
    assert {one["kind"] for one in found} == CUSTOM
    for manifest in found:
        jsonschema.validate(manifest, FRAGMENTS[manifest["kind"]])


def test_the_checkers_refuse_what_is_wrong() -> None:
    worker = next(one for one in build("staging") if one["metadata"]["name"] == "penstock-worker")
    wrong = {**worker, "spec": {**worker["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[0], strict=True)
    for kind, fragment in FRAGMENTS.items():
        found = next(one for one in build("production") if one["kind"] == kind)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**found, "spec": {**found["spec"], "another": 1}}, fragment)
