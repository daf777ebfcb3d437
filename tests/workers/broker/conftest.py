"""Actors of the tests' own on a real Redis, a real PostgreSQL and dramatiq's own worker."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import dramatiq
import pytest
import redis

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.producers.queue.connection import connect
from penstock.producers.queue.records import JobRecord, JobRecords
from penstock.workers.broker.stock import build_broker
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.execution import Execution
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.middleware import middleware
from penstock.workers.registry import Policy, Registration
from penstock.workers.settings import WorkerSettings
from tests.system import wait_for

KIND = WriteSubmissionBatch.kind
#: What every payload holds, and what must be found nowhere else.
ANSWER = "my-very-private-answer"
POLICY = Policy(max_retries=2, backoff_base=timedelta(milliseconds=10), backoff_cap=timedelta(milliseconds=20))

Behaviour = Callable[[Job], Outcome]


class History(JobRecords):
    """Remembers every record that was written, in order."""

    def __init__(self, client: "redis.Redis", namespace: str) -> None:
        super().__init__(client, namespace)
        self.written: list[JobRecord] = []

    def write(self, record: JobRecord) -> None:
        self.written.append(record)
        super().write(record)


@dataclass
class Floor:
    """A worker in this process, whose one actor does what its batch id is to do."""

    client: "redis.Redis"
    namespace: str
    producer: Producer
    records: History
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    attempts: dict[str, list[int]] = field(default_factory=dict)

    def actor(self, jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        (job,) = jobs
        batch_id = json.loads(job.payload)["batch_id"]
        self.attempts.setdefault(batch_id, []).append(job.attempt)
        return [self.behaviours.get(batch_id, lambda _: Done())(job)]

    def enqueue(self, batch_id: str, behaviour: Behaviour | None = None) -> UUID:
        if behaviour is not None:
            self.behaviours[batch_id] = behaviour
        rows = (Submission(answers={"q": ANSWER}),)
        return self.producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=rows)).job_id

    def ended(self, job_id: UUID) -> JobRecord:
        """The record of a job once it is done or dead."""

        def is_over() -> bool:
            record = self.producer.job(job_id)
            return record is not None and record.state in {"done", "dead"}

        wait_for(is_over, f"the end of {job_id}", seconds=20)
        return self.producer.jobs([job_id])[job_id]

    def states(self, job_id: UUID) -> list[str]:
        """What the worker noted of a job, in order."""
        return [str(record.state) for record in self.records.written if record.job_id == job_id]


@pytest.fixture
def floor(settings: WorkerSettings, namespace: str, request: pytest.FixtureRequest) -> Iterator[Floor]:
    own = f"{namespace}-{abs(hash(request.node.nodeid)) % 10**8}"
    encoder = dramatiq.get_encoder()
    with (
        connect(settings.redis_url) as client,
        Producer(settings.redis_url, tenant="acme", namespace=own) as producer,
        open_pool(settings, "penstock-broker-test") as pool,
    ):
        floor = Floor(client, own, producer, History(client, own))
        registrations: Mapping[str, Any] = {KIND: Registration(WriteSubmissionBatch, lambda _: floor.actor, POLICY)}
        execution = Execution(
            {KIND: floor.actor}, registrations, Transactions(pool, settings, lambda _: None), 1_000_000
        )
        broker = build_broker(client, own, execution, middleware(floor.records))
        worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=50)
        worker.start()
        yield floor
        worker.stop(timeout=5_000)
    dramatiq.set_encoder(encoder)
