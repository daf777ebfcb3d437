"""What the network policies let through, reckoned as Kubernetes adds them up."""

import ipaddress

import pytest

from tests.deploy.kubernetes_kit import Manifest, containers, labels_match, of_kind, templates

OUTSIDE = "93.184.216.34"
PRIVATE = "10.20.30.40"
CLOUD = "169.254.169.254"


def labels_of(overlay: str, component: str) -> dict[str, str]:
    (found,) = {
        tuple(sorted(one["metadata"]["labels"].items()))
        for one in templates(overlay).values()
        if one["metadata"]["labels"].get("app.kubernetes.io/component") == component
    }
    return dict(found)


def policies(overlay: str, component: str, way: str) -> list[Manifest]:
    labels = labels_of(overlay, component)
    found = [one["spec"] for one in of_kind(overlay, "NetworkPolicy").values()]
    return [one for one in found if labels_match(one["podSelector"], labels) and way in one["policyTypes"]]


def may_reach(overlay: str, component: str, address: str, port: int) -> bool:
    """Whether a process may open a connection to an address; to a pod where it is a private one."""
    return any(
        _has_port(rule, port) and ("to" not in rule or any(_is_among(address, peer) for peer in rule["to"]))
        for policy in policies(overlay, component, "Egress")
        for rule in policy.get("egress", [])
    )


def may_ask(overlay: str, component: str, namespace: dict[str, str], port: int) -> bool:
    """Whether pods of a namespace with these labels may open a connection to a process."""
    return any(
        _has_port(rule, port) and any(_is_from(namespace, peer) for peer in rule["from"])
        for policy in policies(overlay, component, "Ingress")
        for rule in policy.get("ingress", [])
    )


def _is_from(namespace: dict[str, str], peer: Manifest) -> bool:
    return "namespaceSelector" in peer and labels_match(peer["namespaceSelector"], namespace)


def _has_port(rule: Manifest, port: int) -> bool:
    return any(one["port"] == port for one in rule["ports"])


def _is_among(address: str, peer: Manifest) -> bool:
    if "ipBlock" not in peer:
        return False
    found = ipaddress.ip_address(address)
    block = peer["ipBlock"]
    excepted = [ipaddress.ip_network(one) for one in block.get("except", [])]
    return found in ipaddress.ip_network(block["cidr"]) and not any(found in one for one in excepted)


@pytest.mark.parametrize(
    "component", ["gateway", "worker", "scheduler", "migration", "verification", "backup", "backup-verify"]
)
def test_everything_is_refused_that_is_not_allowed(component: str) -> None:
    for way in ("Ingress", "Egress"):
        assert policies("production", component, way), way
    for address in (OUTSIDE, PRIVATE, CLOUD):
        assert not may_reach("production", component, address, 22)
    assert not may_ask("production", component, {"kubernetes.io/metadata.name": "another"}, 8080)


@pytest.mark.parametrize(
    ("component", "address", "port", "allowed"),
    [
        ("gateway", PRIVATE, 5432, True),
        ("gateway", PRIVATE, 6379, True),
        ("gateway", OUTSIDE, 443, False),
        ("worker", PRIVATE, 5432, True),
        ("worker", OUTSIDE, 443, True),
        ("worker", OUTSIDE, 5432, False),
        ("worker", PRIVATE, 443, False),
        ("worker", CLOUD, 443, False),
        ("scheduler", OUTSIDE, 443, True),
        ("migration", PRIVATE, 5432, True),
        ("migration", OUTSIDE, 443, False),
        ("verification", PRIVATE, 5432, True),
        ("verification", PRIVATE, 9191, False),
        ("verification", OUTSIDE, 443, False),
    ],
)
def test_what_each_may_reach(component: str, address: str, port: int, allowed: bool) -> None:
    assert may_reach("production", component, address, port) is allowed


@pytest.mark.parametrize(
    ("component", "label", "port", "allowed"),
    [
        ("gateway", "penstock.io/asks-gateway", 8080, True),
        ("gateway", "penstock.io/watches", 8080, False),
        ("gateway", "penstock.io/watches", 9192, True),
        ("worker", "penstock.io/watches", 9192, True),
        ("worker", "penstock.io/operates", 9191, False),
        ("scheduler", "penstock.io/operates", 9191, True),
        ("scheduler", "penstock.io/watches", 9191, False),
    ],
)
def test_who_may_ask_each(component: str, label: str, port: int, allowed: bool) -> None:
    assert may_ask("production", component, {label: "true"}, port) is allowed
    assert not may_ask("production", component, {}, port)


@pytest.mark.parametrize(("component", "port"), [("gateway", 8080), ("scheduler", 9192)])
def test_the_verification_reaches_what_it_asks_and_nobody_else_does(component: str, port: int) -> None:
    for overlay in ("development", "staging", "production", "production-pooled"):
        own, asked = labels_of(overlay, "verification"), labels_of(overlay, component)
        assert [asked] == _pods(overlay, "verification", "Egress", "to", port, asked)
        assert [own] == _pods(overlay, component, "Ingress", "from", port, own)
        assert _pods(overlay, component, "Ingress", "from", port, labels_of(overlay, "worker")) == []


def _pods(overlay: str, component: str, way: str, side: str, port: int, labels: dict[str, str]) -> list[dict[str, str]]:
    """Those labels, once for each rule that lets such pods through."""
    return [
        labels
        for policy in policies(overlay, component, way)
        for rule in policy.get(way.lower(), [])
        for peer in rule[side]
        if _has_port(rule, port) and "podSelector" in peer and labels_match(peer["podSelector"], labels)
    ]


def test_sentinels_are_reached_where_there_are_some() -> None:
    assert may_reach("production-pooled", "worker", PRIVATE, 26379)
    assert not may_reach("production", "worker", PRIVATE, 26379)


def test_policies_name_ports_that_pods_have() -> None:
    for overlay in ("development", "staging", "production", "production-pooled"):
        all_pods = templates(overlay).values()
        for policy in of_kind(overlay, "NetworkPolicy").values():
            selected = [
                one for one in all_pods if labels_match(policy["spec"]["podSelector"], one["metadata"]["labels"])
            ]
            assert selected, policy["metadata"]["name"]
            for rule in policy["spec"].get("ingress", []):
                for port in rule["ports"]:
                    for template in selected:
                        open_ports = {
                            one["containerPort"] for each in containers(template) for one in each.get("ports", [])
                        }
                        assert port["port"] in open_ports
