"""The ledger of kinds without one of their own: a claim holds exactly if its transaction does."""

import threading
import uuid
from datetime import UTC, datetime

import psycopg
import pytest

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transactions
from penstock.workers.job import Job
from penstock.workers.settings import WorkerSettings
from tests.system import Database, wait_for
from tests.workers.database.conftest import Pool


@pytest.fixture
def job() -> Job:
    return Job(uuid.uuid4(), "greeting.send", "acme", datetime.now(UTC), 1, b"{}")


def effects(database: Database, job: Job) -> list[tuple[object, ...]]:
    return database.query("SELECT kind, tenant, result FROM penstock.job_effects WHERE job_id = %s", job.job_id)


def test_the_first_claim_is_the_effects_and_the_second_finds_it(
    pool: Pool, settings: WorkerSettings, database: Database, job: Job
) -> None:
    transactions = Transactions(pool, settings)
    results = [
        transactions.run(lambda transaction: claim_effect(transaction.connection, job, {"sent": 1})) for _ in range(2)
    ]
    assert results == [True, False]
    assert effects(database, job) == [("greeting.send", "acme", {"sent": 1})]
    assert database.query("SELECT count(*) FROM penstock.effects WHERE job_id = %s", job.job_id) == [(1,)]


def test_without_a_result_there_is_none(database: Database, job: Job) -> None:
    with psycopg.connect(database.url) as connection:
        assert claim_effect(connection, job)
    assert effects(database, job) == [("greeting.send", "acme", None)]


def test_a_claim_that_is_rolled_back_was_none(database: Database, job: Job) -> None:
    with psycopg.connect(database.url) as connection:
        assert claim_effect(connection, job)
        connection.rollback()
        assert effects(database, job) == []
        assert claim_effect(connection, job)


@pytest.mark.parametrize("commits", [True, False])
def test_a_second_delivery_waits_for_the_first(database: Database, job: Job, commits: bool) -> None:
    claimed: list[bool] = []
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        assert claim_effect(first, job)
        thread = threading.Thread(target=lambda: claimed.append(claim_effect(second, job)))
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        wait_for(lambda: database.value(waits, second.info.backend_pid) > 0, "the second delivery to wait")
        assert claimed == []
        if commits:
            first.commit()
        else:
            first.rollback()
        thread.join(30)
    assert claimed == [not commits]
