"""Messages that no producer of ours would send: the worker outlives them, and does the good jobs that come after."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
import zstandard

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from tests.system import Database, WorkerProcess, wait_for

FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))
KIND = WriteSubmissionBatch.kind
SECRET = "my-very-private-answer"


@pytest.fixture(scope="module")
def producer(environment: dict[str, str], database: Database) -> Iterator[Producer]:
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, "default", "f", FORM)
    with Producer.from_environment(environment) as made:
        yield made


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


def push(client: Any, namespace: str, message: bytes, name: uuid.UUID) -> None:
    """Put bytes into the queue as a producer that is none of ours."""
    new = NewJob(name, KIND, "default", message, "digest", timedelta(hours=1))
    Enqueuer(client, namespace).enqueue("submissions", [new])


def message(job_id: uuid.UUID, payload: bytes, **header: Any) -> bytes:
    members = {
        "v": 1,
        "id": str(job_id),
        "kind": KIND,
        "queue": "submissions",
        "tenant": "default",
        "enqueued_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(members | header).encode() + b"\n" + payload


def record_of(producer: Producer, job_id: uuid.UUID) -> Any:
    wait_for(lambda: producer.job(job_id) is not None, "a record")
    wait_for(lambda: producer.jobs([job_id])[job_id].state in {"done", "dead"}, "the end of the job")
    return producer.jobs([job_id])[job_id]


def do_a_good_job(producer: Producer, database: Database) -> None:
    batch_id = f"good-{uuid.uuid4()}"
    rows = (Submission(answers={"q": SECRET}),)
    told = producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=rows))
    record = record_of(producer, told.job_id)
    assert (record.state, record.code) == ("done", None), record
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = %s", batch_id) == 1


def batch(**members: Any) -> bytes:
    return json.dumps(
        {"form_id": "f", "batch_id": "poison", "submissions": [{"answers": {"q": SECRET}}]} | members
    ).encode()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("payload", "header", "code"),
    [
        pytest.param(SECRET.encode(), {}, "JOB_PAYLOAD_INVALID", id="no JSON"),
        pytest.param(b"", {}, "JOB_PAYLOAD_INVALID", id="nothing"),
        pytest.param(b"\xff\xfe\x00" + SECRET.encode(), {}, "JOB_PAYLOAD_INVALID", id="no text"),
        pytest.param(json.dumps([SECRET]).encode(), {}, "JOB_PAYLOAD_INVALID", id="no object"),
        pytest.param(batch(form_id=[SECRET]), {}, "JOB_PAYLOAD_INVALID", id="a member of another type"),
        pytest.param(batch(submissions=SECRET), {}, "JOB_PAYLOAD_INVALID", id="submissions that are no list"),
        pytest.param(batch(submissions=[]), {}, "BATCH_EMPTY", id="no row"),
        pytest.param(batch(form_id="nothing"), {}, "FORM_NOT_FOUND", id="unknown form"),
        pytest.param(batch(), {"encoding": "zstd"}, "JOB_PAYLOAD_INVALID", id="no zstd frame"),
        pytest.param(
            zstandard.compress(b"[" + b" " * 100_000_000), {"encoding": "zstd"}, "BATCH_TOO_LARGE", id="zstd bomb"
        ),
        pytest.param(b"[" * 200_000, {}, "JOB_PAYLOAD_INVALID", id="deep nesting"),
        pytest.param(batch(first_position=10**30), {}, "JOB_PAYLOAD_INVALID", id="a number without bounds"),
    ],
)
def test_a_job_that_can_not_be_done_is_dead_with_its_code(
    producer: Producer,
    client: Any,
    namespace: str,
    database: Database,
    payload: bytes,
    header: dict[str, Any],
    code: str,
) -> None:
    job_id = uuid.uuid4()
    push(client, namespace, message(job_id, payload, **header), job_id)
    record = record_of(producer, job_id)
    assert (record.state, record.code) == ("dead", code)
    kept = client.hgetall(QueueKeys(namespace, "submissions").job(job_id))
    # An operator can see what it was; nothing else of the record quotes it.
    assert kept.pop(b"message").endswith(payload)
    assert SECRET not in str(kept)
    do_a_good_job(producer, database)
    assert database.value("SELECT count(*) FROM penstock.submission_batches WHERE batch_id = 'poison'") == 0


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(b"\x00\xff\xfe" + SECRET.encode(), id="bytes"),
        pytest.param(SECRET.encode() + b"\n{}", id="no header"),
        pytest.param(message(uuid.uuid4(), b"{}", enqueued_at=SECRET), id="a header that is wrong"),
        pytest.param(message(uuid.uuid4(), b"{}", tenant=f"{SECRET}/.."), id="a tenant that is no name"),
    ],
)
def test_bytes_that_are_no_message_do_not_stop_the_worker(
    worker: WorkerProcess, producer: Producer, client: Any, namespace: str, database: Database, rubbish: bytes
) -> None:
    job_id = uuid.uuid4()
    push(client, namespace, rubbish, job_id)
    record = record_of(producer, job_id)
    assert (record.state, record.code) == ("dead", "JOB_PAYLOAD_INVALID")
    do_a_good_job(producer, database)
    assert worker.process.poll() is None


def test_no_log_line_held_a_payload(worker: WorkerProcess) -> None:
    """Of all that the tests above have sent."""
    assert len(worker.lines) > 1
    assert SECRET not in "\n".join(worker.lines)
    for line in worker.lines:
        json.loads(line)
