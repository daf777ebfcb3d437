"""Pods times processes times pools, against what PostgreSQL and PgBouncer take."""

import configparser

import pytest

from tests.deploy.composed import compose_file
from tests.deploy.connections import of_process
from tests.deploy.kubernetes_kit import FOLDER, containers, environment, most_pods, of_kind, templates, the

#: PostgreSQL keeps these for superusers, and operators want some for themselves.
RESERVED = 3
PEOPLE = 5
#: The migration's own, and what a backup and its workers hold.
MIGRATION = 2
BACKUP = 3

PROCESSES = ("gateway", "worker", "scheduler", "sidecar")


def of_pods(overlay: str) -> int:
    """What all pods of the processes open at the most, while they are rolled out."""
    total = 0
    for name in of_kind(overlay, "Deployment"):
        for container in containers(templates(overlay)[name]):
            kind = container.get("args", [""])[0]
            if kind in PROCESSES:
                total += most_pods(overlay, name) * of_process(kind, environment(overlay, container))
    return total


def allowed(overlay: str) -> int:
    (namespace,) = of_kind(overlay, "Namespace").values()
    return int(namespace["metadata"]["annotations"]["penstock.io/postgresql-max-connections"])


@pytest.mark.parametrize("overlay", ["development", "staging", "production"])
def test_all_pods_find_a_connection(overlay: str) -> None:
    canary = of_pods("canary") if overlay == "production" else 0
    wanted = of_pods(overlay) + canary + MIGRATION + BACKUP + PEOPLE + RESERVED
    # Enough, and not so much that the number says nothing.
    assert 0.6 * allowed(overlay) < wanted <= allowed(overlay), wanted


def test_behind_pgbouncer_its_pools_count() -> None:
    overlay = "production-pooled"
    # Booleans and the like are texts here; the file that it includes is the deployment's.
    text = (FOLDER / "pgbouncer" / "pgbouncer.ini").read_text().partition("[pgbouncer]")
    found = configparser.ConfigParser(interpolation=None)
    found.read_string("".join(text[1:]))
    pooler = found["pgbouncer"]
    pods = most_pods(overlay, "penstock-pgbouncer")
    pools = pods * (pooler.getint("default_pool_size") + pooler.getint("reserve_pool_size"))
    assert pools + MIGRATION + BACKUP + PEOPLE + RESERVED <= allowed(overlay)
    # One of them may be all that is there for a while.
    clients = of_pods(overlay) + of_pods("canary")
    assert clients <= pooler.getint("max_client_conn")
    assert clients > allowed(overlay)
    # What makes its way through transactions: nothing that a session keeps.
    assert pooler["pool_mode"] == "transaction"
    _, main = containers(templates(overlay)["penstock-worker"])
    assert environment(overlay, main)["PENSTOCK_PREPARE_STATEMENTS"] == "off"
    assert the(overlay, "Deployment", "penstock-pgbouncer")["spec"]["replicas"] > 1


def test_compose_fits_into_its_server() -> None:
    services = compose_file()["services"]
    command = services["postgres"]["command"]
    (most,) = [int(word.partition("=")[2]) for word in command if word.startswith("-cmax_connections=")]
    wanted = sum(of_process(name, services[name]["environment"]) for name in PROCESSES)
    # Three workers of `--scale worker=4` fit, too.
    wanted += 3 * of_process("worker", services["worker"]["environment"])
    assert wanted + MIGRATION + PEOPLE + RESERVED <= most
