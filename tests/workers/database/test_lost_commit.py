"""The answer to COMMIT is lost: nobody knows whether it was done, the work runs again, and the rows are there once."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.database.pool import open_pool
from penstock.workers.job import Done, Job
from penstock.workers.run import Parts, assemble
from penstock.workers.settings import WorkerSettings
from tests.system import Database
from tests.workers.database.lossy_proxy import LossyProxy

KIND = "submission_batch.write"
FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))


@pytest.fixture
def proxy(database: Database) -> Iterator[LossyProxy]:
    with LossyProxy(database.url, losses=0) as running:
        yield running


@pytest.fixture
def parts(proxy: LossyProxy, database: Database, settings: WorkerSettings) -> Iterator[Parts]:
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, "acme", "f", FORM)
    through = settings.model_copy(update={"database_url": proxy.url, "pool_min": 1})
    with open_pool(through, "penstock-lossy-test") as pool:
        yield assemble(through, pool)


def job(batch_id: str, rows: int) -> Job:
    submissions = [{"answers": {"q": f"answer {number}"}} for number in range(rows)]
    payload = json.dumps({"form_id": "f", "batch_id": batch_id, "submissions": submissions}).encode()
    return Job(uuid.uuid4(), KIND, "acme", datetime.now(UTC) - timedelta(seconds=1), 1, payload)


def test_the_rows_are_there_once(parts: Parts, proxy: LossyProxy, database: Database) -> None:
    parts.execution.run([job("warm", 1)])
    proxy.losses_left = 1
    (outcome,) = parts.execution.run([job("lost", 50)])
    assert proxy.losses_left == 0, "no COMMIT was lost, so nothing is proven"
    assert isinstance(outcome, Done)
    assert outcome.repeated, "the second try finds what the first has committed"
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = 'lost'") == 50
    ledger = "SELECT stored, rejected, duplicates FROM penstock.submission_batches WHERE batch_id = 'lost'"
    assert database.query(ledger) == [(50, 0, 0)]


def test_with_every_idle_connection_cut_a_batch_and_its_form_get_through(
    database: Database, settings: WorkerSettings
) -> None:
    """The form is read through a connection of its own: it must not meet one dead connection after another."""
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, "acme", "f", FORM)
    roomy = settings.model_copy(update={"pool_min": 8, "pool_max": 8})
    with open_pool(roomy, "penstock-cut-test") as pool:
        pool.wait(60)
        execution = assemble(roomy, pool).execution
        cut = database.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'penstock-cut-test'"
        )
        assert cut == [(True,)] * 8
        (outcome,) = execution.run([job("after-the-cut", 3)])
    assert outcome == Done(counts={"stored": 3, "rejected": 0, "duplicates": 0})
