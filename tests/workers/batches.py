"""Batches run by a worker's own parts in this process, and what became of them."""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.schemas.identity import SubmissionIds
from penstock.workers.database.pool import open_pool
from penstock.workers.job import Dead, Done, Job, Outcome
from penstock.workers.run import Parts, assemble
from penstock.workers.settings import WorkerSettings
from tests.system import Database

__all__ = ["FORM", "FORM_ID", "GOOD", "Batches", "apply", "batches", "parts", "pool"]

FORM_ID = "visitors"
FORM = {
    "title": "Visitors",
    "questions": [
        {"id": "name", "text": "Name", "type": "text", "required": True},
        {"id": "age", "text": "Age", "type": "number", "min": 0},
        {"id": "photo", "text": "Photo", "type": "file"},
    ],
}
GOOD = b'{"answers":{"name":"Zo\xc3\xab"}}'

Pool = ConnectionPool[psycopg.Connection[Any]]


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture(scope="module")
def parts(settings: WorkerSettings, pool: Pool, database: Database) -> Parts:
    """A worker's parts; the form `visitors` is there in the tenants `default` and `other`."""
    apply(database, FORM_ID, FORM)
    apply(database, FORM_ID, FORM, tenant="other")
    return assemble(settings, pool)


@pytest.fixture
def batches(parts: Parts, database: Database) -> Iterator["Batches"]:
    """An empty ledger, and a way to run batches."""
    yield Batches(parts, database)
    database.query(
        "TRUNCATE penstock.job_effects, penstock.submissions, penstock.submission_batches,"
        " penstock.submission_rejections, penstock.base_batches"
    )


def apply(database: Database, form_id: str, form: dict[str, Any], tenant: str = "default") -> None:
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, tenant, form_id, parse_form(json.dumps(form).encode()))


@dataclass(slots=True)
class Batches:
    """Runs batches as a worker does, and looks at what is stored."""

    parts: Parts
    database: Database
    enqueued_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def job(
        self, rows: Sequence[bytes] | bytes, batch_id: str = "b", *, tenant: str = "default", **head: object
    ) -> Job:
        """A job whose rows are bytes, or all of `submissions` is."""
        submissions = rows if isinstance(rows, bytes) else b"[" + b",".join(rows) + b"]"
        members = json.dumps({"form_id": FORM_ID, "batch_id": batch_id} | head).encode()
        return self.raw_job(members[:-1] + b',"submissions":' + submissions + b"}", tenant)

    def raw_job(self, payload: bytes, tenant: str = "default") -> Job:
        return Job(uuid.uuid4(), "submission_batch.write", tenant, self.enqueued_at, 1, payload)

    def run(self, *jobs: Job) -> Sequence[Outcome]:
        return self.parts.execution.run(jobs)

    def write(self, rows: Sequence[bytes] | bytes, batch_id: str = "b", **head: Any) -> Outcome:
        (outcome,) = self.run(self.job(rows, batch_id, **head))
        return outcome

    def counts(self, rows: Sequence[bytes], batch_id: str = "b", **head: Any) -> tuple[int, int, int]:
        """Stored, rejected and duplicates of a batch that is done."""
        outcome = self.write(rows, batch_id, **head)
        assert isinstance(outcome, Done), outcome
        return outcome.counts["stored"], outcome.counts["rejected"], outcome.counts["duplicates"]

    def dead(self, rows: Sequence[bytes] | bytes, batch_id: str = "b", **head: Any) -> str:
        """The code of a batch that is dead."""
        outcome = self.write(rows, batch_id, **head)
        assert isinstance(outcome, Dead), outcome
        return outcome.code

    def answers(self) -> list[Any]:
        """The stored answers in the order of the positions in their batches (of rows without an id)."""
        stored = dict(self.database.query("SELECT submission_id, answers FROM penstock.submissions"))
        id_at = SubmissionIds("default", FORM_ID).of_positions("b")
        found = [stored.get(uuid.UUID(bytes=id_at(position))) for position in range(1_000)]
        return [answers for answers in found if answers is not None]

    def rejections(self) -> dict[int, tuple[str | bytes, list[tuple[str | None, str]]]]:
        """By position: the content as it was sent, and each fault's question id and code."""
        rejected = self.database.query(
            "SELECT position, content::text, content_bytes, faults FROM penstock.submission_rejections"
        )
        return {
            position: (
                text if raw is None else bytes(raw),
                [(fault["question_id"], fault["code"]) for fault in faults],
            )
            for position, text, raw, faults in rejected
        }

    def rows_written(self) -> tuple[int, ...]:
        """How many rows each of the tables holds: submissions, ledger, rejections, base batches."""
        tables = ("submissions", "submission_batches", "submission_rejections", "base_batches")
        return tuple(self.database.value(f"SELECT count(*) FROM penstock.{table}") for table in tables)
