"""`penstock circuit`, as an operator runs it."""

import getpass
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis

from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.keys import gate_keys
from penstock.workers.settings import WorkerSettings
from tests.system import Penstock

NAME = "platform:instagram"


@pytest.fixture
def client(redis_url: str, namespace: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as found:
        yield found
        for key in found.scan_iter(match=f"{namespace}:*", count=10_000):
            found.delete(key)


@pytest.fixture
def circuits(client: redis.Redis, namespace: str, settings: WorkerSettings) -> Iterator[Circuits]:
    """A worker's circuits."""
    found = Circuits(client, namespace, settings)
    yield found
    found.close()


def goes_through(circuits: Circuits) -> bool:
    try:
        with circuits.guard(NAME):
            return True
    except CircuitOpenError:
        return False


def fail(circuits: Circuits, times: int = 5) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError), circuits.guard(NAME):
            raise ConnectionError


def audit(client: redis.Redis, namespace: str) -> list[dict[str, Any]]:
    return [json.loads(entry) for entry in client.lrange(gate_keys(namespace).key("audit"), 0, -1)]


def test_list_tells_each_circuit(circuits: Circuits, penstock: Penstock) -> None:
    assert penstock("circuit", "list", "--json").json == {"items": [], "next": None}
    fail(circuits)
    with circuits.guard("platform:tiktok"):
        pass
    items = penstock("circuit", "list", "--json").json["items"]
    assert [(one["circuit"], one["state"], one["share"], one["forced"]) for one in items] == [
        (NAME, "open", 0, None),
        ("platform:tiktok", "closed", 100, None),
    ]
    opened, until = (datetime.fromisoformat(items[0][field]) for field in ("opened_at", "open_until"))
    assert until - opened == timedelta(minutes=1)


def test_open_and_auto(circuits: Circuits, penstock: Penstock, client: redis.Redis, namespace: str) -> None:
    assert goes_through(circuits)
    opened = penstock("circuit", "open", NAME, "--reason", "their outage", "--yes", "--json").json
    assert (opened["state"], opened["known"], opened["forced"]["until"]) == ("open", True, None)
    assert (opened["forced"]["by"], opened["forced"]["reason"]) == (getpass.getuser(), "their outage")
    assert not goes_through(circuits)
    assert f"by {getpass.getuser()}: their outage" in penstock("circuit", "list").out
    released = penstock("circuit", "auto", NAME, "--reason", "it is over", "--yes", "--json").json
    assert (released["changed"], released["state"], released["forced"]) == (True, "half-open", None)
    assert goes_through(circuits)
    for_ever = penstock("circuit", "open", NAME, "--reason", "their outage", "--yes").out
    assert for_ever == f"{NAME} is forced open; until: penstock circuit auto {NAME}\n"
    penstock("circuit", "auto", NAME, "--reason", "it is over", "--yes")
    again = penstock("circuit", "auto", NAME, "--reason", "again", "--yes")
    assert (again.code, again.out) == (0, f"{NAME} was not forced; nothing changed\n")
    assert [(one["action"], one["target"], one["reason"], one["actor"]) for one in audit(client, namespace)] == [
        ("circuit.open", NAME, "their outage", getpass.getuser()),
        ("circuit.auto", NAME, "it is over", getpass.getuser()),
    ] * 2


def test_close_for_a_while(circuits: Circuits, penstock: Penstock, client: redis.Redis, namespace: str) -> None:
    fail(circuits)
    assert not goes_through(circuits)
    run = penstock("circuit", "close", NAME, "--reason", "it works, I looked", "--for", "15m", "--yes")
    assert (run.code, run.out.startswith(f"{NAME} is forced closed (until 20")) == (0, True)
    fail(circuits, 6)
    assert goes_through(circuits)
    (item,) = penstock("circuit", "list", "--json").json["items"]
    at, until = (datetime.fromisoformat(item["forced"][field]) for field in ("at", "until"))
    assert until - at == timedelta(minutes=15)
    (entry,) = audit(client, namespace)
    assert (entry["action"], entry["details"]) == ("circuit.close", {"for_seconds": 900.0})


def test_a_name_that_nobody_asked_for_is_told(client: redis.Redis, penstock: Penstock) -> None:
    run = penstock("circuit", "open", "platform:instgram", "--reason", "their outage", "--yes")
    assert (run.code, "no call has asked for a circuit of that name" in run.out) == (0, True)


def test_what_changes_a_circuit_asks_first(
    circuits: Circuits, penstock: Penstock, client: redis.Redis, namespace: str
) -> None:
    for verb in ("open", "close", "auto"):
        refusal = penstock("circuit", verb, NAME, "--reason", "x", stdin=b"n\n")
        assert (refusal.code, refusal.out) == (130, "")
    assert audit(client, namespace) == []
    assert goes_through(circuits)
    assert penstock("circuit", "open", NAME, "--reason", "x", stdin=b"y\n").code == 0
    assert not goes_through(circuits)


@pytest.mark.parametrize(
    "arguments",
    [
        ("open", NAME),
        ("open", NAME, "--reason", " "),
        ("open", "two words", "--reason", "x"),
        ("open", NAME, "--reason", "x", "--for", "soon"),
        ("open", NAME, "--reason", "x", "--for", "-5m"),
        ("auto", NAME, "--reason", "x", "--for", "5m"),
        ("half-open", NAME, "--reason", "x"),
    ],
    ids=" ".join,
)
def test_what_is_not_usable_is_refused(
    arguments: tuple[str, ...], penstock: Penstock, client: redis.Redis, namespace: str
) -> None:
    run = penstock("circuit", *arguments, "--yes", "--json")
    assert (run.code, run.out, run.error["code"]) == (2, "", "REQUEST_USAGE")
    assert audit(client, namespace) == []


def test_circuits_need_redis_and_no_database(client: redis.Redis, penstock: Penstock) -> None:
    without: dict[str, str | None] = {"DATABASE_URL": None, "PENSTOCK_MIGRATION_DATABASE_URL": None}
    assert penstock("circuit", "list", "--json", env=without).code == 0
    away: dict[str, str | None] = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    run = penstock("circuit", "list", "--json", env=away)
    assert (run.code, run.error["code"]) == (1, "QUEUE_UNAVAILABLE")
