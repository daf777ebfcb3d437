"""Redis and PostgreSQL held against each other: effects that are missing, effects ahead of their job, the outbox."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.broker.leases import Verb
from penstock.workers.reconcile import effects as effects_module
from penstock.workers.reconcile.effects import Effects
from penstock.workers.reconcile.reconciliation import Reconciliation
from penstock.workers.reconcile.report import Report
from tests.queue_kit import QueueKit, open_kit
from tests.system import Database

BATCH = WriteSubmissionBatch.kind


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture(autouse=True)
def tables(database: Database) -> Database:
    database.query("TRUNCATE penstock.job_effects, penstock.outbox")
    return database


def reconcile(kit: QueueKit, database: Database, age: timedelta = timedelta(minutes=10)) -> Report:
    # As the worker's role: reconcile needs no more.
    with psycopg.connect(database.url, autocommit=True) as connection:
        return Reconciliation(kit.client, kit.namespace, Effects(connection), age).run()


def commit_effect(database: Database, job_id: uuid.UUID, kind: str = BATCH) -> None:
    database.query("INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (%s, %s, 'acme')", job_id, kind)


def relayed(database: Database, job_id: uuid.UUID, minutes: int, state: str = "relayed") -> None:
    database.query(
        "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest, state, relayed_at)"
        " VALUES (%s, %s, 'acme', 1, '{}', 'd', %s, now() - %s * interval '1 minute')",
        job_id,
        BATCH,
        state,
        minutes,
    )


def done(kit: QueueKit, kind: str = BATCH) -> uuid.UUID:
    (job,) = kit.put(kind=kind)
    kit.settle(kit.lease(), Verb.ACK)
    return job


def test_a_done_job_with_its_effect_is_clean(kit: QueueKit, database: Database) -> None:
    commit_effect(database, done(kit))
    report = reconcile(kit, database)
    assert (report.clean, report.database, report.records, report.ack_pending) == (True, True, 1, 0)


def test_a_done_job_without_its_effect_is_named(kit: QueueKit, database: Database) -> None:
    commit_effect(database, done(kit))
    missing = done(kit)
    report = reconcile(kit, database)
    assert [(fault.job_id, fault.problem) for fault in report.faults] == [
        (str(missing), "it is done, and PostgreSQL has no effect under its id")
    ]


def test_of_a_kind_without_a_ledger_nothing_is_asked(kit: QueueKit, database: Database) -> None:
    done(kit, kind="mail.send")
    assert reconcile(kit, database).clean


def test_an_effect_ahead_of_its_job_is_pending_and_no_fault(kit: QueueKit, database: Database) -> None:
    ready, held = kit.put(kind=BATCH)[0], kit.put(kind=BATCH, tenant="other")[0]
    assert kit.lease()
    kit.put(kind=BATCH)
    for job in (ready, held):
        commit_effect(database, job)
    report = reconcile(kit, database)
    assert (report.clean, report.ack_pending) == (True, 2)


def test_a_relayed_job_that_nobody_knows_is_named(kit: QueueKit, database: Database) -> None:
    lost = uuid.uuid4()
    relayed(database, lost, minutes=30)
    relayed(database, kit.put()[0], minutes=30)
    relayed(database, done_with_effect := uuid.uuid4(), minutes=30)
    commit_effect(database, done_with_effect)
    relayed(database, uuid.uuid4(), minutes=1)
    relayed(database, uuid.uuid4(), minutes=30, state="dead")
    report = reconcile(kit, database)
    assert [(fault.job_id, fault.queue, fault.problem) for fault in report.faults] == [
        (str(lost), None, "it was relayed from the outbox, and neither Redis nor an effect knows it")
    ]


def test_questions_come_in_pages(kit: QueueKit, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects_module, "CHUNK", 3)
    jobs = [uuid.uuid4() for _ in range(10)]
    for job in jobs:
        relayed(database, job, minutes=30)
    for job in jobs[::2]:
        commit_effect(database, job)
    assert {fault.job_id for fault in reconcile(kit, database).faults} == {str(job) for job in jobs[1::2]}
