"""Jobs whose dead letters went to PostgreSQL are accounted for there."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.workers.broker.leases import Verb
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.unarchived import Unarchived
from penstock.workers.reconcile.effects import Effects
from penstock.workers.reconcile.reconciliation import Reconciliation
from penstock.workers.reconcile.report import Report
from penstock.workers.settings import WorkerSettings
from tests.queue_kit import QueueKit, open_kit
from tests.system import Database


@pytest.fixture
def kit(redis_url: str) -> Iterator[QueueKit]:
    yield from open_kit(redis_url)


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator["ConnectionPool[psycopg.Connection]"]:
    with open_pool(settings, "penstock-test") as opened:
        yield opened


@pytest.fixture
def archive(kit: QueueKit, pool: "ConnectionPool[psycopg.Connection]", settings: WorkerSettings) -> Archive:
    return Archive(kit.client, kit.namespace, Transactions(pool, settings, tries=1))


def bury(kit: QueueKit) -> uuid.UUID:
    (job,) = kit.put()
    kit.settle(kit.lease(), Verb.BURY, code="C", told="t")
    return job


def reconcile(kit: QueueKit, database: Database) -> Report:
    with psycopg.connect(database.url, autocommit=True) as connection:
        return Reconciliation(kit.client, kit.namespace, Effects(connection), timedelta(minutes=10)).run()


def test_an_archived_job_is_accounted_for(kit: QueueKit, archive: Archive, database: Database) -> None:
    kit.one_of_each()
    archive.run_round(kit.queue)
    report = reconcile(kit, database)
    assert (report.as_dict()["faults"], report.clean, report.records) == ([], True, 6)
    assert Reconciliation(kit.client, kit.namespace, None).run().clean


def test_one_without_a_letter_is_named(kit: QueueKit, database: Database) -> None:
    job = bury(kit)
    unarchived = Unarchived(kit.client, kit.namespace)
    (death,) = unarchived.read(unarchived.oldest(kit.queue, 1, lambda _: False), 1)
    assert death is not None
    unarchived.let_go(kit.queue, [death])
    (fault,) = reconcile(kit, database).faults
    told = "it is archived as a dead letter, and PostgreSQL has none of it"
    assert (fault.job_id, fault.queue, fault.problem) == (str(job), "posts", told)


def test_one_that_still_stands_among_the_dead_is_named(kit: QueueKit, archive: Archive, database: Database) -> None:
    job = bury(kit)
    archive.run_round(kit.queue)
    kit.client.zadd(kit.keys.key("dead"), {str(job): 1})
    report = reconcile(kit, database)
    assert [fault.problem for fault in report.faults] == ["its record says archived, and it stands in dead"]
    assert report.unaccounted == 1


def test_a_job_of_the_outbox_whose_letter_is_there_is_not_missed(
    kit: QueueKit, archive: Archive, database: Database
) -> None:
    job = bury(kit)
    archive.run_round(kit.queue)
    kit.client.delete(kit.keys.job(job))
    kit.client.zrem(kit.keys.key("archived"), str(job))
    for identity in (job, uuid.uuid4()):
        database.query(
            "INSERT INTO penstock.outbox (job_id, kind, tenant, payload_version, payload, digest, state, relayed_at)"
            " VALUES (%s, 'a.b', 'acme', 1, '{}', 'd', 'relayed', now() - interval '1 hour')",
            identity,
        )
    assert [fault.job_id for fault in reconcile(kit, database).faults] == [str(identity)]
