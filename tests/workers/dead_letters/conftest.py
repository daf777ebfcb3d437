"""The store of dead letters on the module's own database."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.groups import GroupStore
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.search import LetterSearch
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import account, connect, connection
from tests.system import Database

__all__ = ["account", "connect", "connection"]

Pool = ConnectionPool[psycopg.Connection[Any]]
Insert = Callable[..., None]

_EMPTY = """
SET session_replication_role = replica;
ALTER TABLE penstock.dead_letters DISABLE TRIGGER dead_letters_are_not_emptied;
TRUNCATE penstock.dead_letters, penstock.dead_letter_groups, penstock.dead_letter_group_subjects,
         penstock.dead_letter_group_hours, penstock.outbox;
ALTER TABLE penstock.dead_letters ENABLE ALWAYS TRIGGER dead_letters_are_not_emptied;
"""


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture
def empty(database: Database) -> None:
    """No letter is there."""
    database.query(_EMPTY)


@pytest.fixture
def transactions(pool: Pool, settings: WorkerSettings) -> Transactions:
    return Transactions(pool, settings)


@pytest.fixture
def insert(transactions: Transactions) -> Insert:
    """Archives deaths, in one transaction."""

    def run(*letters: LetterRecord) -> None:
        inserted = transactions.run(lambda transaction: insert_letters(transaction.connection, letters))
        assert inserted == len(letters)

    return run


@pytest.fixture
def search(pool: Pool) -> LetterSearch:
    return LetterSearch(pool)


@pytest.fixture
def groups(pool: Pool, transactions: Transactions) -> GroupStore:
    return GroupStore(pool, transactions)


@pytest.fixture
def decisions(transactions: Transactions) -> LetterDecisions:
    return LetterDecisions(transactions)
