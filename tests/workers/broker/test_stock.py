"""What becomes of a job, by its outcome: attempts, records, metrics; and no payload in any of them."""

import itertools
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from penstock.producers import Submission, WriteSubmissionBatch
from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError
from penstock.workers.database.transaction import TRIES
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from tests.workers.broker.conftest import ANSWER, KIND, POLICY, Behaviour, Floor


def failing(times: int, error: Exception) -> Behaviour:
    """Fails so often, and is done then."""
    left = itertools.count(times, -1)

    def behave(_: Job) -> Outcome:
        if next(left) > 0:
            raise error
        return Done()

    return behave


def test_a_job_is_noted_running_and_done(floor: Floor) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def behave(_: Job) -> Outcome:
        entered.set()
        assert go_on.wait(10)
        return Done()

    job_id = floor.enqueue("b", behave)
    assert entered.wait(10)
    running = floor.producer.job(job_id)
    go_on.set()
    assert running is not None
    assert running.state == "running"
    record = floor.ended(job_id)
    assert (record.state, record.kind, record.tenant, record.queue) == ("done", KIND, "acme", "submissions")
    assert (record.code, record.message) == (None, None)
    assert floor.states(job_id) == ["running", "done"]


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (lambda _: Dead(Code.BATCH_CONFLICT, "told"), "BATCH_CONFLICT", "told"),
        (failing(99, InvalidInputError(Code.JOB_PAYLOAD_INVALID, "told")), "JOB_PAYLOAD_INVALID", "told"),
        (failing(99, PenstockError(Code.STORAGE_REFUSED, "told")), "STORAGE_REFUSED", "told"),
    ],
    ids=["outcome", "invalid", "refused"],
)
def test_a_job_that_no_attempt_can_help_is_dead_at_once(
    floor: Floor, behave: Behaviour, code: str, message: str
) -> None:
    job_id = floor.enqueue("b", behave)
    record = floor.ended(job_id)
    assert (record.state, record.code, record.message) == ("dead", code, message)
    assert floor.attempts["b"] == [1]


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (lambda _: Retry(Code.STORAGE_REFUSED, "told"), "STORAGE_REFUSED", "told"),
        (failing(99, ValueError(ANSWER)), "INTERNAL_ERROR", "the actor raised ValueError"),
    ],
    ids=["outcome", "raised"],
)
def test_a_job_that_keeps_failing_is_dead_after_its_attempts(
    floor: Floor, behave: Behaviour, code: str, message: str
) -> None:
    job_id = floor.enqueue("b", behave)
    record = floor.ended(job_id)
    assert (record.state, record.code, record.message) == ("dead", code, message)
    assert floor.attempts["b"] == list(range(1, POLICY.max_retries + 2))
    assert floor.states(job_id) == ["running", "scheduled"] * POLICY.max_retries + ["running", "dead"]


def test_a_job_waits_for_a_dependency_as_long_as_it_takes(floor: Floor) -> None:
    deliveries = POLICY.max_retries + 3
    away = UnavailableError(Code.STORAGE_UNAVAILABLE, "away")
    job_id = floor.enqueue("b", failing(deliveries * TRIES, away))
    assert floor.ended(job_id).state == "done"
    scheduled = [record for record in floor.records.written if record.state == "scheduled"]
    assert {record.code for record in scheduled} == {"STORAGE_UNAVAILABLE"}
    assert len(scheduled) == deliveries
    assert set(floor.attempts["b"]) == {1}


def test_waiting_costs_no_attempt(floor: Floor) -> None:
    """After a dependency was away for long, the job still has all its attempts."""
    away = UnavailableError(Code.STORAGE_UNAVAILABLE, "away")
    turns = iter([away] * 5 + [ValueError()] * 99)

    def behave(_: Job) -> Outcome:
        raise next(turns)

    assert floor.ended(floor.enqueue("b", behave)).state == "dead"
    assert floor.attempts["b"] == [1] * 6 + list(range(2, POLICY.max_retries + 2))


def test_a_postponed_job_costs_no_attempt_and_is_no_failure(floor: Floor) -> None:
    turns = iter([Postpone(timedelta(milliseconds=20), "busy")] * 4)
    job_id = floor.enqueue("b", lambda _: next(turns, Done()))
    assert floor.ended(job_id).state == "done"
    assert floor.attempts["b"] == [1] * 5
    noted = [record for record in floor.records.written if record.state == "scheduled"]
    assert [(record.code, record.message) for record in noted] == [(None, None)] * 4


def test_a_job_of_later_runs_when_its_time_has_come(floor: Floor) -> None:
    rows = (Submission(answers={"q": ANSWER}),)
    due = datetime.now(UTC) + timedelta(milliseconds=300)
    ran_at: list[datetime] = []

    def behave(_: Job) -> Outcome:
        ran_at.append(datetime.now(UTC))
        return Done()

    floor.behaviours["later"] = behave
    batch = WriteSubmissionBatch(form_id="f", batch_id="later", submissions=rows)
    told = floor.producer.enqueue_at(batch, due)
    record = floor.ended(told.job_id)
    assert (record.state, record.queue) == ("done", "submissions")
    assert len(ran_at) == 1
    assert ran_at[0] >= due


def test_an_actor_never_sees_a_job_of_the_future(floor: Floor) -> None:
    """A producer's clock may be ahead."""
    seen: list[datetime] = []
    floor.producer._clock = lambda: datetime.now(UTC) + timedelta(hours=1)

    def behave(job: Job) -> Outcome:
        seen.append(job.enqueued_at)
        return Done()

    floor.ended(floor.enqueue("b", behave))
    assert seen[0] <= datetime.now(UTC)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"queue": "submissions", "kind": KIND} | labels) or 0.0


OUTCOMES: dict[str, Any] = {
    "done": lambda _: Done(),
    "dead": lambda _: Dead(Code.BATCH_CONFLICT, "told"),
    "retried": failing(2, ValueError()),
}


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("done", {"done": 1, "dead": 0, "retried": 0}),
        ("dead", {"done": 0, "dead": 1, "retried": 0}),
        ("retried", {"done": 1, "dead": 0, "retried": 2}),
    ],
    ids=["done", "dead", "retried"],
)
def test_deliveries_are_counted_and_measured(floor: Floor, name: str, counted: dict[str, int]) -> None:
    def read() -> dict[str, float]:
        finished = {key: sample("penstock_jobs_finished_total", outcome=key) for key in counted}
        return finished | {
            "durations": sample("penstock_job_duration_seconds_count"),
            "waits": sample("penstock_job_wait_seconds_count"),
        }

    before = read()
    floor.ended(floor.enqueue("b", OUTCOMES[name]))
    # The record is written last but one: `after_` hooks run in reverse order.
    after = read()
    gained = {key: after[key] - before[key] for key in after}
    # A job waits once, however many attempts it takes.
    assert gained == counted | {"durations": sum(counted.values()), "waits": 1}


def test_neither_logs_nor_records_nor_headers_hold_a_payload(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        job_id = floor.enqueue("b", failing(99, ValueError(ANSWER)))
        assert floor.ended(job_id).state == "dead"
    for line in caplog.records:
        assert ANSWER not in line.getMessage()
    records = [floor.client.hgetall(key) for key in floor.client.scan_iter(f"{floor.namespace}:job:*")]
    assert len(records) == 1
    assert ANSWER not in str(records)
    dead = floor.client.hvals(f"{floor.namespace}:submissions.XQ.msgs")
    assert len(dead) == 1
    header, _, payload = dead[0].partition(b"\n")
    assert ANSWER.encode() in payload
    assert ANSWER.encode() not in header
