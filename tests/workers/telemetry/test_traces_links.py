"""What is linked and no child: later attempts, groups' transactions, the relay, new lives of the dead, posts."""

import json
import subprocess
import uuid
from typing import Any

import psycopg
import pytest
import redis

from penstock.producers import Producer, WriteSubmissionBatch
from penstock.producers import traced as within_trace
from penstock.producers.storage.outbox import JobToEnqueue, enqueue_many_in_transaction
from tests.otlp_collector import Collector, Seen
from tests.producers.gateway.gateway_kit import FORM_ID, Gateway
from tests.system import Database, Penstock, WorkerProcess, wait_for
from tests.workers.telemetry.failing_kit import enqueue_failing
from tests.workers.telemetry.traces_kit import (
    CALLER,
    COPY,
    SECRET,
    TRACE_ID,
    TRACEPARENT,
    UNSAMPLED,
    of_job,
    texts_of,
    trace_for,
)

#: The way of a job that is refused by the other side each time, and dies at the third attempt.
GIVES_UP = 6
ORIGINAL = (TRACE_ID, CALLER)


@pytest.fixture
def client(redis_url: str) -> Any:
    with redis.Redis.from_url(redis_url) as made:
        yield made


def batch(name: str, form: str = FORM_ID) -> WriteSubmissionBatch:
    rows = [{"answers": {"q": SECRET}}]
    return WriteSubmissionBatch.model_validate({"form_id": form, "batch_id": name, "submissions": rows})


def runs_of(collector: Collector, queue: str, job_id: uuid.UUID, count: int) -> list[Seen]:
    """The spans of a job's runs, once there are so many."""
    return of_job(collector, f"process {queue}", str(job_id), count)


def test_a_retry_begins_a_trace_that_links_to_the_first(
    traced_worker: WorkerProcess, collector: Collector, client: Any, namespace: str
) -> None:
    (job_id,) = enqueue_failing(client, namespace, [GIVES_UP], trace=TRACEPARENT)
    first, second, third = runs_of(collector, "posts", job_id, 3)
    assert (first.trace_id, first.parent, first.links) == (TRACE_ID, CALLER, ())
    for attempt in (second, third):
        assert (attempt.parent, attempt.links) == ("", (ORIGINAL,))
    assert len({first.trace_id, second.trace_id, third.trace_id}) == 3
    told = [
        (span.attributes["penstock.job.attempt"], span.attributes["penstock.job.outcome"]) for span in (first, third)
    ]
    assert told == [(1, "retried"), (3, "dead")]
    assert all(span.is_error and span.attributes["error.type"] == "INTERNAL_ERROR" for span in (first, second, third))
    assert SECRET not in texts_of([first, second, third])


def test_a_retry_of_what_was_not_sampled_is_not_either(
    traced_worker: WorkerProcess, collector: Collector, client: Any, namespace: str
) -> None:
    (unseen,) = enqueue_failing(client, namespace, [GIVES_UP], trace=UNSAMPLED)
    wait_for(lambda: is_dead(client, namespace, unseen), "the death of a job")
    (seen,) = enqueue_failing(client, namespace, [GIVES_UP], trace=TRACEPARENT)
    runs_of(collector, "posts", seen, 3)
    assert of_job(collector, "process posts", str(unseen), 0) == []


def is_dead(client: Any, namespace: str, job_id: uuid.UUID) -> bool:
    (key,) = list(client.scan_iter(match=f"*{namespace}*job:{job_id}")) or [None]
    return key is not None and client.hget(key, "state") == b"dead"


def test_jobs_of_one_transaction_have_a_span_each_and_links_to_what_they_share(
    traced_gateway: Gateway,
    traced_worker: WorkerProcess,
    penstock: Penstock,
    environment: dict[str, str],
    collector: Collector,
) -> None:
    assert penstock("queue", "pause", "submissions", "--reason", "test", "--yes").code == 0
    traces = [uuid.uuid4().hex for _ in range(8)]
    with Producer.from_environment(environment) as producer:
        jobs = [
            producer.enqueue(batch(f"grouped-{n}"), trace=trace_for(trace_id)).job_id
            for n, trace_id in enumerate(traces)
        ]
    assert penstock("queue", "resume", "submissions", "--reason", "test", "--yes").code == 0
    runs = [runs_of(collector, "submissions", job_id, 1)[0] for job_id in jobs]
    assert [(run.trace_id, run.parent) for run in runs] == [(trace_id, CALLER) for trace_id in traces]
    wait_for(lambda: bool(shared_among(collector, runs)), "a transaction that several jobs share")
    for shared in shared_among(collector, runs):
        members = [run for run in runs if run.place in shared.links]
        assert len(members) == shared.attributes["penstock.jobs"] > 1
        assert {place for run in members for place in run.links} == {shared.place}
        assert shared.parent == ""
        assert "COMMIT" in [span.name for span in collector.trace(shared.trace_id)]
    for run in runs:
        # What was written for it is in its own trace, whoever else was in the transaction.
        wait_for(lambda run=run: COPY in [span.name for span in collector.trace(run.trace_id)], "its COPY")


def shared_among(collector: Collector, runs: list[Seen]) -> list[Seen]:
    """The transactions that some of the runs share, once all of it has come."""
    places = {run.place for run in runs}
    found = [span for span in collector.named("transaction") if places & set(span.links)]
    return found if all("COMMIT" in [one.name for one in collector.trace(span.trace_id)] for span in found) else []


def test_a_trace_goes_on_through_the_outbox_whichever_scheduler_brings_the_job(
    traced_gateway: Gateway,
    traced_worker: WorkerProcess,
    traced_scheduler: "subprocess.Popen[bytes]",
    collector: Collector,
) -> None:
    trace_id = uuid.uuid4().hex
    path = f"/v1/forms/{FORM_ID}/submissions?durability=postgres"
    headers = {"traceparent": trace_for(trace_id), "Idempotency-Key": "outbox", "X-Request-Id": "req-7"}
    answer = traced_gateway.ask("POST", path, json={"submissions": [{"answers": {"q": SECRET}}]}, headers=headers)
    assert answer.status_code == 202, answer.text
    (job,) = answer.json()["batches"]
    (run,) = runs_of(collector, "submissions", job["job_id"], 1)
    trace = collector.whole(trace_id, "enqueue submissions", outside=CALLER)
    (enqueue,) = [span for span in trace if span.name == "enqueue submissions"]
    assert (run.trace_id, run.parent) == (trace_id, enqueue.span_id)

    def relayed() -> list[Seen]:
        return [span for span in collector.named("relay outbox") if enqueue.place in span.links]

    wait_for(lambda: bool(relayed()), "the span of the relay")
    assert [span.parent for span in relayed()] == [""]


def test_who_speaks_sql_says_the_trace_by_a_setting_of_the_transaction(
    traced_worker: WorkerProcess,
    traced_scheduler: "subprocess.Popen[bytes]",
    traced_gateway: Gateway,
    database: Database,
    collector: Collector,
) -> None:
    trace_id = uuid.uuid4().hex
    payload = json.dumps({"form_id": FORM_ID, "batch_id": "sql", "submissions": [{"answers": {"q": "x"}}]})
    with psycopg.connect(database.url) as connection:
        connection.execute(f"SET LOCAL penstock.trace = '{trace_for(trace_id)}'")
        call = "SELECT penstock.enqueue('submission_batch.write', %s::jsonb, idempotency_key => 'sql')"
        ((job_id,),) = connection.execute(call, (payload,)).fetchall()
    (run,) = runs_of(collector, "submissions", job_id, 1)
    assert (run.trace_id, run.parent) == (trace_id, CALLER)
    with psycopg.connect(database.url) as connection:
        connection.execute("SET LOCAL penstock.trace = 'nonsense'")
        connection.execute("SET LOCAL penstock.request_id = 'white space'")
        connection.execute("SELECT penstock.enqueue('a.b', '{}', idempotency_key => 'nonsense')")
        row = connection.execute(
            "SELECT trace, request_id FROM penstock.outbox WHERE idempotency_key = 'nonsense'"
        ).fetchone()
        connection.rollback()
    assert row == (None, None)


def test_many_jobs_of_one_statement_have_the_trace(database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        with within_trace(TRACEPARENT, "req-8"):
            ids = enqueue_many_in_transaction(connection, [JobToEnqueue(batch(f"m-{n}")) for n in range(3)])
        found = connection.execute(
            "SELECT DISTINCT trace, request_id FROM penstock.outbox WHERE job_id = ANY(%s)", (ids,)
        ).fetchall()
        connection.rollback()
    assert found == [(TRACEPARENT, "req-8")]


def test_a_new_life_links_to_the_one_that_ended(
    traced_worker: WorkerProcess,
    traced_scheduler: "subprocess.Popen[bytes]",
    penstock: Penstock,
    traced: dict[str, str],
    database: Database,
    collector: Collector,
) -> None:
    trace_id = uuid.uuid4().hex
    with Producer.from_environment(traced) as producer:
        job_id = producer.enqueue(batch("dies", form="nowhere"), trace=trace_for(trace_id)).job_id
    (death,) = runs_of(collector, "submissions", job_id, 1)
    assert (death.trace_id, death.attributes["error.type"]) == (trace_id, "FORM_NOT_FOUND")
    letters = "SELECT dead_id FROM penstock.dead_letters WHERE job_id = %s"
    wait_for(lambda: bool(database.query(letters, job_id)), "the dead letter")
    done = penstock(
        "dead", "requeue", str(database.value(letters, job_id)), "--reason", "test", "--yes", "--json", env=traced
    )  # fmt: skip
    assert done.code == 0, done.err
    (requeue,) = collector.wait_for("requeue dead letters")
    assert (requeue.parent, requeue.links) == ("", ((trace_id, CALLER),))
    _, again = runs_of(collector, "submissions", job_id, 2)
    assert (again.trace_id, again.parent) == (requeue.trace_id, requeue.span_id)
    assert again.links == ((trace_id, CALLER),)
    assert again.attributes["penstock.job.outcome"] == "dead"


def test_each_statement_is_below_its_transaction(collector: Collector, traced_worker: WorkerProcess) -> None:
    commits = collector.wait_for("COMMIT")
    for commit in commits:
        # Some of its trace may be with a caller, who exports nothing here.
        wait_for(lambda commit=commit: bool(parents(collector, commit)), "the transaction of a COMMIT")
        (transaction,) = parents(collector, commit)
        assert transaction.name == "transaction"
        assert transaction.began_ns <= commit.began_ns <= commit.ended_ns <= transaction.ended_ns


def parents(collector: Collector, span: Seen) -> list[Seen]:
    return [one for one in collector.trace(span.trace_id) if one.span_id == span.parent]
