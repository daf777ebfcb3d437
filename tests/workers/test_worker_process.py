"""A worker process: how it starts without its servers, how it stops in mid-work, and what it logs."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import psycopg
import pytest
import redis

from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.producers.queue.layout import LAYOUT, QueueKeys
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from tests.system import Database, Penstock, WorkerProcess, wait_for

FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))
ANSWER = "my-very-private-answer"

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="module")
def producer(environment: dict[str, str], database: Database) -> Iterator[Producer]:
    with psycopg.connect(database.admin_url) as connection:
        apply_form(connection, "acme", "f", FORM)
    with Producer.from_environment(environment | {"PENSTOCK_TENANT": "acme"}) as made:
        yield made


def lines_of(worker: WorkerProcess) -> list[dict[str, object]]:
    """Every line as JSON, which it must be."""
    return [json.loads(line) for line in worker.lines]


def told(worker: WorkerProcess, text: str) -> None:
    wait_for(lambda: any(text in line for line in list(worker.lines)), f"the worker to say {text!r}")


def test_a_batch_that_is_being_processed_is_finished_before_the_end(
    start_worker: StartWorker, producer: Producer, database: Database
) -> None:
    worker = start_worker(PENSTOCK_SHUTDOWN_SECONDS="15").wait_until_ready()
    rows = tuple(Submission(answers={"q": f"{ANSWER} {number}"}) for number in range(500))
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    with psycopg.connect(database.admin_url) as holder:
        # The batch can't get on until the worker has been told to stop.
        holder.execute("LOCK TABLE penstock.submission_batches IN SHARE MODE")
        job_id = producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id="last", submissions=rows)).job_id
        wait_for(lambda: bool(database.value(blocked, database.name)), "the worker to be in mid-batch")
        worker.process.terminate()
        told(worker, "stopping")
        holder.rollback()
    assert worker.process.wait(60) == 0
    record = producer.job(job_id)
    assert record is not None
    assert record.state == "done"
    assert database.query("SELECT stored FROM penstock.submission_batches WHERE batch_id = 'last'") == [(500,)]
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = 'last'") == 500
    lines = lines_of(worker)
    assert lines[-1]["message"] == "the worker has stopped"
    (done,) = [line for line in lines if line.get("job_id") == str(job_id)]
    assert (done["outcome"], done["tenant"], done["attempt"]) == ("done", "acme", 1)
    assert ANSWER not in "\n".join(worker.lines)


def test_an_idle_worker_ends_promptly(start_worker: StartWorker) -> None:
    worker = start_worker(PENSTOCK_SHUTDOWN_SECONDS="60").wait_until_ready()
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 30, "of about 1 s on an idle machine"
    assert lines_of(worker)[-1]["message"] == "the worker has stopped"


def test_a_worker_that_gives_back_what_it_has_started_says_so_and_another_one_does_it(
    start_worker: StartWorker, producer: Producer, database: Database
) -> None:
    worker = start_worker(PENSTOCK_SHUTDOWN_SECONDS="1", PENSTOCK_LOCK_SECONDS="30").wait_until_ready()
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock-worker' AND datname = %s"
    rows = (Submission(answers={"q": ANSWER}),)
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    with psycopg.connect(database.admin_url) as holder:
        holder.execute("LOCK TABLE penstock.submission_batches IN SHARE MODE")
        job_id = producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id="overrun", submissions=rows)).job_id
        wait_for(lambda: bool(database.value(blocked, database.name)), "the worker to be in mid-batch")
        assert worker.stop() == 3
        record = producer.job(job_id)
        assert record is not None
        assert record.state == "ready"
        holder.rollback()
    # The process is gone, and with it the transaction that it was in.
    wait_for(lambda: not database.value(sessions, database.name), "PostgreSQL to notice")
    told(worker, "gave back 1 job(s)")
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = 'overrun'") == 0
    other = start_worker().wait_until_ready()
    wait_for(lambda: (it := producer.job(job_id)) is not None and it.state == "done", "the job to be done")
    assert database.value("SELECT count(*) FROM penstock.submissions WHERE batch_id = 'overrun'") == 1
    assert other.stop() == 0


@pytest.mark.parametrize("queues", ["submission", "submissions,nowhere"])
def test_a_queue_that_no_kind_goes_to_is_a_fault_of_the_settings(penstock: Penstock, queues: str) -> None:
    run = penstock("worker", env={"PENSTOCK_QUEUES": queues})
    assert run.code == 1
    assert "CONFIG_INVALID" in run.err
    assert f"PENSTOCK_QUEUES: no job kind of this worker goes to {queues.rpartition(',')[2]}" in run.err
    assert "submissions" in run.err


def test_a_worker_serves_the_queues_that_it_is_told(start_worker: StartWorker, producer: Producer) -> None:
    worker = start_worker(PENSTOCK_QUEUES=" submissions, ").wait_until_ready()
    rows = (Submission(answers={"q": ANSWER}),)
    job_id = producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id="served", submissions=rows)).job_id
    wait_for(lambda: (it := producer.job(job_id)) is not None and it.state == "done", "the job to be done")
    assert worker.stop() == 0


def test_a_queue_of_a_later_release_is_refused_at_the_start(penstock: Penstock, redis_url: str, namespace: str) -> None:
    later = f"{namespace}-later"
    with redis.Redis.from_url(redis_url) as client:
        client.hset(QueueKeys(later, "submissions").key("meta"), "layout", LAYOUT + 1)
        run = penstock("worker", env={"PENSTOCK_NAMESPACE": later})
        assert client.hgetall(QueueKeys(later, "submissions").key("meta")) == {b"layout": b"%d" % (LAYOUT + 1)}
    assert run.code == 1
    assert "QUEUE_LAYOUT_NEWER" in run.err
    assert f"layout {LAYOUT + 1}" in run.err


def test_a_redis_that_may_drop_jobs_is_refused_where_that_is_wanted(
    penstock: Penstock, start_worker: StartWorker
) -> None:
    """The tests' Redis flushes its file when the system likes."""
    run = penstock("worker", env={"PENSTOCK_REDIS_CHECK": "refuse"})
    assert run.code == 1
    assert "QUEUE_UNSAFE" in run.err
    assert "appendfsync is no" in run.err
    warned = start_worker(PENSTOCK_REDIS_CHECK="warn").wait_until_ready()
    assert [line["level"] for line in lines_of(warned) if line.get("code") == "QUEUE_UNSAFE"] == ["warning"]
    quiet = start_worker(PENSTOCK_REDIS_CHECK="off").wait_until_ready()
    assert not [line for line in lines_of(quiet) if line.get("code") == "QUEUE_UNSAFE"]
    assert (warned.stop(), quiet.stop()) == (0, 0)


@pytest.fixture
def nobody() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return int(closed_soon.getsockname()[1])


@pytest.mark.parametrize(
    ("setting", "url", "code"),
    [
        ("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:{port}/x", "STORAGE_UNAVAILABLE"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:{port}/0", "QUEUE_UNAVAILABLE"),
    ],
    ids=["postgresql", "redis"],
)
def test_a_server_that_is_not_there_yet_is_waited_for_until_a_stop(
    start_worker: StartWorker, nobody: int, setting: str, url: str, code: str
) -> None:
    worker = start_worker(**{setting: url.format(port=nobody)}, PENSTOCK_POOL_WAIT_SECONDS="0.5")
    told(worker, "trying again")
    assert worker.process.poll() is None
    assert worker.stop() == 0
    lines = lines_of(worker)
    assert code in {line.get("code") for line in lines}
    assert not worker.ready.is_set()
    assert "hunter2" not in "\n".join(worker.lines)


def test_a_server_that_comes_later_is_found(
    start_worker: StartWorker, producer: Producer, database: Database, environment: dict[str, str], nobody: int
) -> None:
    """Redis becomes reachable at the address while the worker waits."""
    host, port = environment["REDIS_URL"].rpartition("@")[2].split("/")[0].split(":")
    url = environment["REDIS_URL"].replace(f"{host}:{port}", f"127.0.0.1:{nobody}")
    worker = start_worker(REDIS_URL=url)
    told(worker, "trying again")
    with Relay(nobody, (host, int(port))):
        worker.wait_until_ready()
        rows = (Submission(answers={"q": ANSWER}),)
        job_id = producer.enqueue(WriteSubmissionBatch(form_id="f", batch_id="late", submissions=rows)).job_id
        wait_for(lambda: (it := producer.job(job_id)) is not None and it.state == "done", "the job to be done")
        assert worker.stop() == 0


class Relay:
    """Listens at `port` and forwards to `target`."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._target = target
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            far = socket.create_connection(self._target)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other side has gone
