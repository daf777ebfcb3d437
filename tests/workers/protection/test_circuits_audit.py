"""What the audit hears of circuits: an opening once, however many notice it, and the closing that ends it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from penstock.producers.queue.audit import OperatorAction
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_listening import AuditListener
from tests.workers.protection.circuit_kit import NAME, CircuitKit, open_kit


@pytest.fixture
def kit(redis_url: str) -> Iterator[CircuitKit]:
    yield from open_kit(redis_url)


def audited(kit: CircuitKit) -> list[tuple[str, str, str]]:
    entries: list[bytes] = kit.client.lrange(kit.audit_key, 0, -1)  # type: ignore[assignment]
    return [(one.actor, one.action, one.target) for one in map(OperatorAction.decode, entries)]


def listening(kit: CircuitKit, client: "redis.Redis | None" = None) -> Circuits:
    return Circuits(kit.client, kit.namespace, kit.settings, [AuditListener(client or kit.client, kit.namespace)])


def test_an_incident_is_its_opening_and_its_closing(kit: CircuitKit) -> None:
    circuits, other = listening(kit), listening(kit)
    kit.fail(5, circuits=circuits)
    assert audited(kit) == [("penstock", "circuit.opened", NAME)]
    # A probe that fails is the same incident.
    kit.pass_time(timedelta(minutes=5))
    kit.fail(1, circuits=circuits)
    assert audited(kit) == [("penstock", "circuit.opened", NAME)]
    kit.pass_time(timedelta(minutes=5))
    kit.succeed(other)
    assert audited(kit)[1:] == [("penstock", "circuit.closed", NAME)]
    kit.pass_time(timedelta(minutes=5))
    kit.succeed(circuits)
    kit.fail(5, circuits=circuits)
    assert audited(kit)[2:] == [("penstock", "circuit.opened", NAME)]


def test_calls_go_on_where_the_note_cannot_be_left(kit: CircuitKit) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:9/0")
    circuits = listening(kit, away)
    kit.fail(5, circuits=circuits)
    kit.pass_time(timedelta(minutes=5))
    kit.succeed(circuits)
    assert audited(kit) == []
