"""The audit: what operators did is in PostgreSQL once, whoever was killed on the way."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
import redis

from penstock.producers.queue.audit import OperatorAction, audit_entry
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import PenstockError
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transactions
from penstock.workers.protection.keys import gate_keys
from penstock.workers.scheduler.audit_trail import AuditTrail
from tests.system import Database


@pytest.fixture
def audit(client: "redis.Redis", namespace: str, transactions: Transactions) -> AuditTrail:
    return AuditTrail(client, namespace, transactions)


class Noted:
    """The list of a queue, and what is recorded of it."""

    def __init__(self, client: "redis.Redis", key: str, database: Database) -> None:
        self.client = client
        self.key = key
        self.database = database

    def add(self, *entries: bytes) -> None:
        self.client.rpush(self.key, *entries)

    def left(self) -> int:
        return int(self.client.llen(self.key))  # type: ignore[arg-type]

    def recorded(self) -> list[str]:
        return [reason for (reason,) in self.database.query("SELECT reason FROM penstock.operator_actions ORDER BY at")]


@pytest.fixture
def noted(client: "redis.Redis", namespace: str, database: Database) -> Iterator[Noted]:
    yield Noted(client, QueueKeys(namespace, "submissions").key("audit"), database)
    client.delete(QueueKeys(namespace, "submissions").key("audit"))
    # Only like this can a test clear it.
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE penstock.operator_actions DISABLE TRIGGER operator_actions_are_for_ever")
        connection.execute("TRUNCATE penstock.operator_actions")
        connection.execute("ALTER TABLE penstock.operator_actions ENABLE ALWAYS TRIGGER operator_actions_are_for_ever")


def action(reason: str) -> OperatorAction:
    return audit_entry("ada", "queue.pause", "submissions", reason, {"was": ["é", 1]})


def test_an_action_is_recorded_as_it_was_noted(audit: AuditTrail, noted: Noted) -> None:
    done = action("maintenance")
    noted.add(done.encode())
    assert audit.run_once() is False
    row = noted.database.query(
        "SELECT action_id, at, actor, action, target, reason, details FROM penstock.operator_actions"
    )
    assert row == [
        (done.action_id, done.at, "ada", "queue.pause", "submissions", "maintenance", {"was": ["é", 1]}),
    ]
    assert noted.left() == 0


def test_actions_on_gates_are_recorded_too(audit: AuditTrail, noted: Noted, namespace: str) -> None:
    gates = gate_keys(namespace).key("audit")
    noted.client.rpush(gates, *(action(f"gate {number:03}").encode() for number in range(150)))
    noted.add(action("queue").encode())
    assert [audit.run_once() for _ in range(2)] == [True, False]
    assert noted.recorded() == [*(f"gate {number:03}" for number in range(150)), "queue"]
    assert noted.client.llen(gates) == 0


def test_many_are_recorded_in_rounds(audit: AuditTrail, noted: Noted) -> None:
    noted.add(*(action(f"{number:03}").encode() for number in range(250)))
    assert [audit.run_once() for _ in range(3)] == [True, True, False]
    assert noted.recorded() == [f"{number:03}" for number in range(250)]


def test_killed_after_the_commit_an_action_is_recorded_once(
    audit: AuditTrail, noted: Noted, transactions: Transactions
) -> None:
    done = action("once")
    noted.add(done.encode())
    transactions.run(lambda transaction: record_actions(transaction.connection, [done]))
    audit.run_once()
    assert (noted.recorded(), noted.left()) == (["once"], 0)


def test_while_postgresql_refuses_nothing_is_removed(audit: AuditTrail, noted: Noted) -> None:
    noted.add(action("kept").encode())
    noted.database.query("REVOKE INSERT ON penstock.operator_actions FROM penstock_worker")
    try:
        with pytest.raises(PenstockError, match="STORAGE_PERMISSION_DENIED"):
            audit.run_once()
        assert noted.left() == 1
    finally:
        noted.database.query("GRANT INSERT ON penstock.operator_actions TO penstock_worker")
    audit.run_once()
    assert (noted.recorded(), noted.left()) == (["kept"], 0)


def test_several_at_once_record_all_and_remove_no_more(audit: AuditTrail, noted: Noted) -> None:
    stop = threading.Event()

    def drain() -> None:
        while not stop.is_set():
            audit.run_once()

    threads = [threading.Thread(target=drain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        noted.add(action(f"{number:03}").encode())
    stop.set()
    for thread in threads:
        thread.join(30)
    while audit.run_once():
        pass
    assert noted.recorded() == [f"{number:03}" for number in range(300)]
    assert noted.left() == 0


@pytest.mark.parametrize(
    "entry",
    [
        b"\xff",
        b"no JSON",
        b"[]",
        b"{}",
        action("x").encode().replace(b'"ada"', b"7"),
        action("x").encode().replace(b'"ada"', b'"\\u0000"'),
        action("x").encode().replace(b'"ada"', b'"\\ud800"'),
        action("x").encode().replace(b'"ada"', b"NaN"),
        action("x").encode().replace(b'"\xc3\xa9"', b"1e999"),
        action("x").encode().replace(b'"at":"', b'"at":"x'),
    ],
    ids=["bytes", "text", "list", "empty", "number", "U+0000", "surrogate", "NaN", "infinite", "instant"],
)
def test_what_is_not_readable_is_recorded_as_it_is_and_blocks_nobody(
    audit: AuditTrail, noted: Noted, entry: bytes
) -> None:
    noted.add(entry, action("next").encode())
    audit.run_once()
    noted.add(entry)
    audit.run_once()
    assert noted.left() == 0
    found = noted.database.query("SELECT action, details ->> 'hex' FROM penstock.operator_actions ORDER BY action")
    assert found == [("audit.unreadable", entry.hex()), ("queue.pause", None)]


def test_an_action_reads_back_as_it_was_written() -> None:
    done = OperatorAction(uuid4(), action("x").at + timedelta(hours=1), "é", "a", "b", "\\u0000", {"n": 1.5})
    assert OperatorAction.decode(done.encode()) == done
