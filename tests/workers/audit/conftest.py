"""The audit's chain on the module's own database."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.producers.queue.audit import audit_entry
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.sealing import Sealed, seal_actions
from penstock.workers.audit.verification import Expected, Verdict, verify_chain
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.settings import WorkerSettings
from tests.system import Database

Pool = ConnectionPool[psycopg.Connection[Any]]

KEYS = AuditKeys.from_setting("2026a:0123456789abcdef0123456789abcdef")
#: What a superuser does first, who wants to change what is there.
AS_INTRUDER = """
ALTER TABLE penstock.operator_actions DISABLE TRIGGER ALL;
ALTER TABLE penstock.audit_seals DISABLE TRIGGER ALL;
ALTER TABLE penstock.audit_sealed_actions DISABLE TRIGGER ALL;
"""
AS_BEFORE = """
ALTER TABLE penstock.operator_actions ENABLE ALWAYS TRIGGER operator_actions_are_for_ever;
ALTER TABLE penstock.operator_actions ENABLE ALWAYS TRIGGER operator_actions_wait_for_their_seal;
ALTER TABLE penstock.audit_seals ENABLE ALWAYS TRIGGER audit_seals_are_for_ever;
ALTER TABLE penstock.audit_sealed_actions ENABLE ALWAYS TRIGGER audit_sealed_actions_are_for_ever;
"""
_EMPTY = (
    "TRUNCATE penstock.operator_actions, penstock.audit_seals, penstock.audit_sealed_actions, penstock.audit_unsealed"
)


class Chain:
    """Records, seals and verifies as the processes do, and tampers as nobody may."""

    def __init__(self, database: Database, transactions: Transactions) -> None:
        self.database = database
        self.transactions = transactions

    def record(self, *reasons: str) -> list[str]:
        """Actions with these reasons, in one transaction; returns their ids."""
        actions = [
            audit_entry("ada", "queue.pause", "submissions", reason, {"n": 1.50, "é": [1]}) for reason in reasons
        ]
        self.transactions.run(lambda transaction: record_actions(transaction.connection, actions))
        return [str(action.action_id) for action in actions]

    def seal(self, keys: AuditKeys = KEYS) -> Sealed | None:
        return self.transactions.run(lambda transaction: seal_actions(transaction.connection, keys))

    def sealed(self, *reasons: str, keys: AuditKeys = KEYS) -> tuple[str, list[str]]:
        """Actions and their seal; returns its anchor and their ids, in its order."""
        self.record(*reasons)
        made = self.seal(keys)
        assert made is not None
        assert made.seal.actions == len(reasons)
        ids = self.database.query(
            "SELECT action_id::text FROM penstock.audit_sealed_actions WHERE seal = %s ORDER BY position",
            made.seal.number,
        )
        return made.seal.anchor, [one for (one,) in ids]

    def verify(self, **expected: Any) -> Verdict:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            return verify_chain(connection, Expected(**{"keys": KEYS, **expected}))

    def tamper(self, *statements: str, parameters: tuple[object, ...] = ()) -> None:
        """Change what nobody may, as a superuser who leaves no other trace."""
        with psycopg.connect(self.database.admin_url) as connection:
            connection.execute(AS_INTRUDER)
            for statement in statements:
                connection.execute(statement.encode(), parameters if "%s" in statement else ())
            connection.execute(AS_BEFORE)


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def transactions(pool: Pool, settings: WorkerSettings) -> Transactions:
    return Transactions(pool, settings)


@pytest.fixture
def chain(database: Database, transactions: Transactions) -> Chain:
    """An empty chain."""
    made = Chain(database, transactions)
    made.tamper(_EMPTY)
    return made
