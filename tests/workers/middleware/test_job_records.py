"""A record that can't be written is told in the log, and the job is done all the same."""

import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import CurrentMessage, Retries

from penstock.producers.queue.connection import connect
from penstock.producers.queue.message import EnvelopeEncoder, build_message
from penstock.producers.queue.records import JobRecords
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.middleware import middleware
from penstock.workers.middleware.job_records import RecordJobs
from penstock.workers.middleware.metrics import MeasureJobs


@pytest.fixture
def records() -> Iterator[JobRecords]:
    """Records in a Redis that is away."""
    with connect("redis://127.0.0.1:9/0", replays=0) as client:
        yield JobRecords(client, "nowhere")


@pytest.fixture
def broker(records: JobRecords) -> Iterator[StubBroker]:
    encoder = dramatiq.get_encoder()
    dramatiq.set_encoder(EnvelopeEncoder())
    made = StubBroker(middleware=middleware(records))
    yield made
    made.close()
    dramatiq.set_encoder(encoder)


def test_the_middleware_stands_in_the_order_that_it_needs(records: JobRecords) -> None:
    """`Retries` decides first what became of a job; the others then tell it."""
    kinds = [type(one) for one in middleware(records)]
    assert kinds == [CurrentMessage, RecordJobs, MeasureJobs, Retries]


def test_a_job_is_done_though_its_record_can_not_be_written(
    broker: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[bytes] = []
    dramatiq.Actor(done.append, broker=broker, actor_name="k", queue_name="submissions", priority=0, options={})
    payload = EncodedPayload("k", Queue.SUBMISSIONS, 1, b'{"answer":"hunter2"}', None)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    with caplog.at_level(logging.WARNING):
        worker.start()
        broker.enqueue(build_message(payload, uuid.uuid4(), "acme", datetime.now(UTC)))
        broker.join("submissions", timeout=10_000)
        worker.join()
        worker.stop()
    assert [bytes(one) for one in done] == [b'{"answer":"hunter2"}']
    assert "Unexpected failure in before_process_message" in caplog.text
    assert "hunter2" not in caplog.text
