"""The scheduler's parts in this process, on the module's own database and namespace."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool

from penstock.producers.queue.connection import connect as connect_to_redis
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobRecords, JobState
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import LeasedJob, Leases, Settlement, Verb
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.scheduler.kinds import KindFacts
from penstock.workers.scheduler.offering import Keep, Offering
from penstock.workers.scheduler.relay import Relay
from penstock.workers.scheduler.sweep import Sweep
from penstock.workers.settings import WorkerSettings
from tests.posts_kit import account, connect, connection
from tests.system import Database

__all__ = ["account", "connect", "connection"]

Pool = ConnectionPool[psycopg.Connection[Any]]

#: Kinds as the scheduler knows them; `test.odd` is known to nobody.
KINDS = {
    "test.plain": KindFacts(Queue.SUBMISSIONS, ledger=True),
    "test.unledgered": KindFacts(Queue.SUBMISSIONS, ledger=False),
    "test.post": KindFacts(Queue.POSTS, ledger=True),
}


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings, "penstock-test") as opened:
        opened.wait(60)
        yield opened


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect_to_redis(redis_url) as opened:
        yield opened


@pytest.fixture
def transactions(pool: Pool, settings: WorkerSettings) -> Transactions:
    return Transactions(pool, settings, tries=1)


@pytest.fixture
def offering(client: "redis.Redis", namespace: str) -> Offering:
    return Offering(Enqueuer(client, namespace), KINDS, Keep(timedelta(days=7), timedelta(hours=1)))


@pytest.fixture
def relay(transactions: Transactions, offering: Offering) -> Relay:
    return Relay(transactions, offering, hold=timedelta(0))


@pytest.fixture
def sweep(transactions: Transactions, offering: Offering, client: "redis.Redis", namespace: str) -> Sweep:
    return Sweep(transactions, offering, JobRecords(client, namespace), age=timedelta(0))


class Outbox:
    """Enqueues as a client does, and looks at what is there on both sides."""

    def __init__(self, database: Database, client: "redis.Redis", namespace: str) -> None:
        self.database = database
        self.client = client
        self.namespace = namespace
        self.leases = Leases(client, namespace, "test-boot", timedelta(minutes=10))
        self._requests = 0

    def enqueue(self, kind: str = "test.plain", key: str | None = None, **payload: object) -> UUID:
        return self.enqueue_at("now()", kind, key, **payload)

    def enqueue_at(self, run_at: str, kind: str = "test.plain", key: str | None = None, **payload: object) -> UUID:
        statement = f"SELECT penstock.enqueue(%s, %s::jsonb, {run_at}, %s)"
        found: UUID = self.database.value(statement, kind, json.dumps(payload), key)
        return found

    def rows(self) -> dict[UUID, tuple[str, str | None]]:
        """State and code of each row, in the order of enqueueing."""
        found = self.database.query("SELECT job_id, state, last_code FROM penstock.outbox ORDER BY id")
        return {job_id: (state, code) for job_id, state, code in found}

    def states(self) -> list[str]:
        return [state for state, _ in self.rows().values()]

    def ready(self, queue: str = "submissions", tenant: str = "default") -> list[UUID]:
        found = self.client.lrange(QueueKeys(self.namespace, queue).key(f"ready:{tenant}"), 0, -1)
        return [UUID(job_id.decode()) for job_id in found]

    def meta(self, field: str, queue: str = "submissions") -> int:
        return int(self.client.hget(QueueKeys(self.namespace, queue).key("meta"), field) or 0)

    def state(self, job_id: UUID) -> JobState | None:
        record = JobRecords(self.client, self.namespace).read([job_id]).get(job_id)
        return None if record is None else record.state

    def lease(self, limit: int = 100) -> list[LeasedJob]:
        self._requests += 1
        return self.leases.lease("submissions", limit, self._requests).jobs

    def end(self, verb: Verb = Verb.ACK) -> list[LeasedJob]:
        """Lease all ready jobs and end each so, as a worker does."""
        jobs = self.lease()
        detail = {"code": "INTERNAL_ERROR", "told": "no", "entry": "{}"} if verb is Verb.BURY else {}
        assert all(self.leases.settle("submissions", [Settlement(job, verb, detail) for job in jobs]))
        return jobs

    def commit_effect(self, job_id: UUID) -> None:
        self.database.query(
            "INSERT INTO penstock.job_effects (job_id, kind, tenant) VALUES (%s, 'test.plain', 'default')", job_id
        )

    def lose_redis(self) -> None:
        """As a failover to an empty replica does."""
        for key in self.client.scan_iter(match=f"{self.namespace}*", count=10_000):
            self.client.delete(key)


@pytest.fixture
def outbox(database: Database, client: "redis.Redis", namespace: str) -> Iterator[Outbox]:
    """An empty outbox and empty queues."""
    found = Outbox(database, client, namespace)
    yield found
    database.query("TRUNCATE penstock.outbox, penstock.job_effects")
    found.lose_redis()
