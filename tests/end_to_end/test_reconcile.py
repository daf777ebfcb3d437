"""`penstock reconcile` beside a worker: clean while jobs flow, and a removed job is named."""

import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from penstock.producers import Producer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.schemas.identity import job_id
from penstock.schemas.names import Queue
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.cli.operator import login_name
from penstock.workers.queues.control import QueueControl
from tests.system import Database, Penstock, WorkerProcess, wait_for

FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}


@pytest.fixture(scope="module", autouse=True)
def form(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("forms") / "f.json"
    path.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", path).code == 0


@pytest.fixture(scope="module")
def producer(redis_url: str, namespace: str) -> Iterator[Producer]:
    with Producer(redis_url, namespace=namespace) as producer:
        yield producer


@pytest.fixture
def keys(namespace: str) -> QueueKeys:
    return QueueKeys(namespace, Queue.SUBMISSIONS)


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def send(producer: Producer, batch_id: str) -> None:
    rows = [{"answers": {"q": f"{batch_id} {number}"}} for number in range(5)]
    producer.submit("f", rows, batch_id=batch_id)


def derived(batch_id: str) -> uuid.UUID:
    """The job of a file's only batch."""
    return job_id("default", WriteSubmissionBatch.kind, f"{batch_id}-0001")


def test_a_busy_system_is_clean_however_often_one_looks(
    penstock: Penstock, producer: Producer, worker: WorkerProcess, database: Database
) -> None:
    stop = threading.Event()

    def flow() -> int:
        for number in itertools.count():
            send(producer, f"flow-{number}")
            if stop.is_set():
                return number + 1
        return 0

    with ThreadPoolExecutor() as pool:
        flowing = pool.submit(flow)
        try:
            wait_for(lambda: database.value("SELECT count(*) FROM penstock.submission_batches") > 20, "20 batches")
            runs = [penstock("reconcile", "--json") for _ in range(5)]
        finally:
            stop.set()
        sent = flowing.result()
    assert [(run.code, run.err) for run in runs] == [(0, "")] * 5
    assert all(run.json["clean"] and run.json["database"] and run.json["faults"] == [] for run in runs)
    assert runs[-1].json["records"] > runs[0].json["records"] > 0
    wait_for(lambda: database.value("SELECT count(*) FROM penstock.submission_batches") == sent, "all batches")
    rows = database.value("SELECT count(*) FROM penstock.submissions")
    assert rows == 5 * sent
    assert penstock("reconcile").out.splitlines()[-1] == "every job is accounted for"


def test_a_removed_job_is_named(
    penstock: Penstock, producer: Producer, client: "redis.Redis", keys: QueueKeys, namespace: str
) -> None:
    control = QueueControl(client, namespace, login_name())
    assert control.pause(keys.queue, "so that the job waits")
    send(producer, "removed")
    removed = derived("removed")
    assert producer.jobs([removed])[removed].state is JobState.READY
    assert penstock("reconcile", "--json").code == 0
    assert client.lrem(keys.key("ready:default"), 0, str(removed)) == 1
    client.lrem(keys.key("rotation"), 0, "default")
    run = penstock("reconcile", "--json")
    assert (run.code, run.error["code"]) == (1, "JOB_UNACCOUNTED")
    assert str(removed) in run.error["message"]
    report = run.json
    assert (report["clean"], report["unaccounted"], report["fault_count"]) == (False, 1, 1)
    assert report["faults"] == [
        {
            "job_id": str(removed),
            "queue": "submissions",
            "problem": "its record says ready, and it is in no place",
        }
    ]
    told = penstock("reconcile", "--redis-only")
    assert (told.code, str(removed) in told.out) == (1, True)
    assert "PostgreSQL was not asked" in told.out
    # Put back by hand, the job is done and all is well.
    client.rpush(keys.key("ready:default"), str(removed))
    client.rpush(keys.key("rotation"), "default")
    assert penstock("reconcile").code == 0
    assert control.resume(keys.queue, "the job is back")
    wait_for(lambda: producer.jobs([removed])[removed].state is JobState.DONE, "done")
    assert penstock("reconcile").code == 0


def test_an_effect_that_vanished_is_named(
    penstock: Penstock, producer: Producer, worker: WorkerProcess, database: Database
) -> None:
    send(producer, "vanished")
    identity = derived("vanished")
    wait_for(lambda: producer.jobs([identity])[identity].state is JobState.DONE, "the batch")
    database.query("DELETE FROM penstock.submission_batches WHERE batch_id = 'vanished-0001'")
    run = penstock("reconcile", "--json")
    assert (run.code, [fault["job_id"] for fault in run.json["faults"]]) == (1, [str(identity)])
    assert penstock("reconcile", "--redis-only").code == 0


def test_servers_that_are_down(penstock: Penstock) -> None:
    for away, code in (
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "QUEUE_UNAVAILABLE"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}, "STORAGE_UNAVAILABLE"),
    ):
        env: dict[str, str | None] = {**away}
        run = penstock("reconcile", "--json", env=env)
        assert (run.code, run.out, run.error["code"]) == (1, "", code)


def test_redis_alone_needs_no_database(penstock: Penstock) -> None:
    without: dict[str, str | None] = {"DATABASE_URL": None, "PENSTOCK_MIGRATION_DATABASE_URL": None}
    run = penstock("reconcile", "--redis-only", "--json", env=without)
    assert run.json["database"] is False
