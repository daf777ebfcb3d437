"""Reads of the ledger and of the rejections: pages that neither repeat nor leave out."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.batches import (
    batches_of_base,
    count_faults,
    find_base,
    find_batches,
    list_rejections,
    rejected_positions,
)
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.database.pool import open_pool
from penstock.workers.job import Done, Job
from penstock.workers.run import assemble
from penstock.workers.settings import WorkerSettings
from tests.system import Database

FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "n", "text": "?", "type": "number"}]}))
BATCHES = ["file-0001", "file-0002"]


@pytest.fixture(scope="module")
def written(database: Database, settings: WorkerSettings) -> Database:
    """Two batches of one file, ten rows each; every second row is rejected, and three have two faults."""
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, "acme", "f", FORM)

    def row(number: int) -> dict[str, Any]:
        if number % 2 == 0:
            return {"answers": {"n": number}}
        return {"answers": {"n": "no number"} | ({"unknown": 1} if number in {1, 3, 11} else {})}

    with open_pool(settings, "penstock-storage-test") as pool:
        execution = assemble(settings, pool).execution
        for part, batch_id in reversed(list(enumerate(BATCHES))):
            payload = {
                "form_id": "f",
                "batch_id": batch_id,
                "base_batch_id": "file",
                "batch_size": 10,
                "first_position": 10 * part,
                "submissions": [row(number) for number in range(10 * part, 10 * part + 10)],
            }
            now = datetime.now(UTC)
            job = Job(uuid.uuid4(), "submission_batch.write", "acme", now, 1, json.dumps(payload).encode())
            assert execution.run([job]) == [Done(counts={"stored": 5, "rejected": 5, "duplicates": 0})]
    return database


@pytest.fixture
def connection(written: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(written.url, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 100])
def test_pages_of_rejections_have_each_once_and_in_order(connection: psycopg.Connection, limit: int) -> None:
    seen: list[tuple[str, int]] = []
    after = ("", -1)
    while page := list_rejections(connection, "acme", BATCHES, after, limit):
        assert len(page) <= limit
        seen += [(one.batch_id, one.position) for one in page]
        after = seen[-1]
    assert seen == [(batch_id, position) for batch_id in BATCHES for position in (1, 3, 5, 7, 9)]


def test_a_rejection_tells_the_row_and_its_faults(connection: psycopg.Connection) -> None:
    first = list_rejections(connection, "acme", ["file-0002"], limit=1)[0].as_dict()
    assert first["content"]["answers"] == {"n": "no number", "unknown": 1}
    assert {fault["code"] for fault in first["faults"]} == {"ANSWER_NUMBER_INVALID", "ANSWER_UNKNOWN_QUESTION"}
    assert (first["batch_id"], first["position"], first["resolved_by"]) == ("file-0002", 1, None)


def test_faults_are_counted_the_most_frequent_first(connection: psycopg.Connection) -> None:
    counted = count_faults(connection, "acme", BATCHES)
    assert list(counted.items()) == [("ANSWER_NUMBER_INVALID", 10), ("ANSWER_UNKNOWN_QUESTION", 3)]


def test_a_files_batches_come_in_its_order(connection: psycopg.Connection) -> None:
    found = batches_of_base(connection, "acme", "file")
    assert [(one.batch_id, one.first_position, one.rows, one.unresolved) for one in found] == [
        ("file-0001", 0, 10, 5),
        ("file-0002", 10, 10, 5),
    ]
    assert found[0].as_dict()["success_rate"] == 0.5
    assert find_base(connection, "acme", "file") == ("f", 10)


def test_batches_are_found_by_id(connection: psycopg.Connection) -> None:
    assert list(find_batches(connection, "acme", ["file-0002", "nothing"])) == ["file-0002"]
    assert rejected_positions(connection, "acme", "file-0001") == {1, 3, 5, 7, 9}


def test_another_tenant_sees_nothing(connection: psycopg.Connection) -> None:
    assert list_rejections(connection, "globex", BATCHES) == []
    assert find_batches(connection, "globex", BATCHES) == {}
    assert batches_of_base(connection, "globex", "file") == []
    assert find_base(connection, "globex", "file") is None
    assert count_faults(connection, "globex", BATCHES) == {}
    assert rejected_positions(connection, "globex", "file-0001") == set()
