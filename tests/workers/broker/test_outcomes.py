"""What becomes of a job, by its outcome: attempts, history, metrics; and no payload in any of them."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from penstock.producers import JobState
from penstock.schemas.errors import Code, InvalidInputError, PenstockError, UnavailableError
from penstock.schemas.job import EncodedPayload
from penstock.workers.database.transaction import TRIES
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from penstock.workers.registry import Policy
from tests.workers.broker.conftest import ANSWER, POLICY, QUEUE, Behaviour, Chore, Floor, Gate, failing

KIND = Chore.kind


def test_a_job_is_leased_while_it_runs_and_done_then(floor: Floor) -> None:
    gate = Gate()
    floor.open()
    job_id = floor.put("b", gate)
    gate.wait()
    running = floor.producer.job(job_id)
    assert running is not None
    assert running.state is JobState.LEASED
    gate.go_on.set()
    view = floor.ended(job_id)
    assert (view.state, view.kind, view.tenant, view.queue) == ("done", KIND, "acme", QUEUE)
    assert (view.attempts, floor.effects(job_id)) == (0, 1)
    assert floor.actor.attempts == {"b": [1]}


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
    floor.open()
    view = floor.ended(floor.put("b", behave))
    assert (view.state, view.code, view.message, view.attempts) == ("dead", code, message, 1)
    assert floor.actor.attempts["b"] == [1]
    assert [(entry["attempt"], entry["outcome"], entry["code"]) for entry in view.history] == [(1, "dead", code)]


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        (lambda _: Retry(Code.STORAGE_REFUSED, "told"), "STORAGE_REFUSED", "told"),
        (failing(99, ValueError(ANSWER)), "INTERNAL_ERROR", "the actor raised ValueError"),
        (failing(99, SystemExit(0)), "INTERNAL_ERROR", "the actor raised SystemExit"),
    ],
    ids=["outcome", "raised", "exits"],
)
def test_a_job_that_keeps_failing_is_dead_after_its_attempts(
    floor: Floor, behave: Behaviour, code: str, message: str
) -> None:
    floor.open()
    view = floor.ended(floor.put("b", behave))
    assert (view.state, view.code, view.message) == ("dead", code, message)
    assert floor.actor.attempts["b"] == list(range(1, POLICY.max_retries + 2))
    assert view.attempts == POLICY.max_retries + 1
    told = [(entry["attempt"], entry["outcome"], entry["code"], entry["message"]) for entry in view.history]
    assert told == [
        (attempt, "retried" if attempt <= POLICY.max_retries else "dead", code, message)
        for attempt in range(1, POLICY.max_retries + 2)
    ]


def test_the_history_tells_where_it_failed_and_not_with_what(floor: Floor) -> None:
    shop = floor.open()

    def give_way(_: Job) -> Outcome:
        raise ValueError(ANSWER)

    view = floor.ended(floor.put("b", give_way))
    for entry in view.history:
        assert entry["error"] == "builtins.ValueError"
        assert entry["traceback"][-1].endswith("in give_way")
        assert f"{__file__}:" in entry["traceback"][-1]
        assert entry["worker"] == shop.broker.tools.leases.boot
        assert entry["release"]
        assert 0 <= entry["seconds"] < 10
        assert abs(datetime.fromisoformat(entry["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert ANSWER not in json.dumps(view.as_dict())


def test_a_long_traceback_is_cut(floor: Floor) -> None:
    def dig(depth: int) -> Outcome:
        if depth:
            return dig(depth - 1)
        raise ValueError

    floor.open(policy=Policy(max_retries=0))
    view = floor.ended(floor.put("b", lambda _: dig(200)))
    (entry,) = view.history
    assert len(entry["traceback"]) == 25
    assert entry["traceback"][-1].endswith("in dig")


def test_a_job_waits_for_a_dependency_as_long_as_it_takes(floor: Floor) -> None:
    deliveries = POLICY.max_retries + 3
    floor.open()
    away = UnavailableError(Code.STORAGE_UNAVAILABLE, "away")
    seen: list[Any] = []
    behave = failing(deliveries * TRIES, away)

    def noting(job: Job) -> Outcome:
        seen.append(floor.client.hmget(floor.keys.job(job.job_id), "code", "told", "blocked_by"))
        return behave(job)

    view = floor.ended(floor.put("b", noting))
    assert (view.state, view.attempts) == ("done", 0)
    assert set(floor.actor.attempts["b"]) == {1}
    # What it waits for stands in its record from the first time on.
    assert seen[-1] == [b"STORAGE_UNAVAILABLE", b"away", b"storage"]


def test_waiting_costs_no_attempt(floor: Floor) -> None:
    """After a dependency was away for long, the job still has all its attempts."""
    away = UnavailableError(Code.STORAGE_UNAVAILABLE, "away")
    turns = iter([away] * 5 + [ValueError()] * 99)

    def behave(_: Job) -> Outcome:
        raise next(turns)

    floor.open()
    view = floor.ended(floor.put("b", behave))
    assert (view.state, view.attempts) == ("dead", POLICY.max_retries + 1)
    assert floor.actor.attempts["b"][-3:] == [1, 2, 3]
    assert set(floor.actor.attempts["b"][:-2]) == {1}


def test_a_postponed_job_costs_no_attempt_and_is_no_failure(floor: Floor) -> None:
    turns = iter([Postpone(timedelta(milliseconds=20), "busy")] * 4)
    gate = Gate()
    floor.open()
    job_id = floor.put("b", lambda job: next(turns, None) or gate(job))
    gate.wait()
    view = floor.view(job_id)
    assert (view.postpones, view.attempts, view.code, view.history) == (4, 0, None, [])
    gate.go_on.set()
    assert floor.ended(job_id).state == "done"
    assert floor.actor.attempts["b"] == [1] * 5


def test_what_a_postponed_job_waits_for_can_be_seen(floor: Floor) -> None:
    floor.open()
    job_id = floor.put("b", lambda _: Postpone(timedelta(hours=1), "rate:acme"))
    view = floor.wait_until(job_id, JobState.SCHEDULED)
    assert view.blocked_by == "rate:acme"
    assert view.eligible_at is not None
    assert timedelta(minutes=59) < view.eligible_at - datetime.now(UTC) < timedelta(minutes=61)


def test_patience_has_an_end(floor: Floor) -> None:
    """However often a job is told "not now", it is not told so for ever."""
    floor.open(policy=Policy(patience=timedelta(milliseconds=300)))
    view = floor.ended(floor.put("b", lambda _: Postpone(timedelta(milliseconds=50), "busy")))
    assert (view.state, view.code, view.attempts) == ("dead", "JOB_DEADLINE_EXCEEDED", 0)
    assert view.message is not None
    assert "busy held it for" in view.message
    assert 2 <= view.postpones <= 8


def test_a_job_of_later_runs_when_its_time_has_come(floor: Floor) -> None:
    due = datetime.now(UTC) + timedelta(milliseconds=300)
    ran_at: list[datetime] = []

    def behave(_: Job) -> Outcome:
        ran_at.append(datetime.now(UTC))
        return Done()

    floor.open()
    floor.actor.behaviours["later"] = behave
    body = json.dumps({"name": "later", "answer": ANSWER}).encode()
    told = floor.producer.enqueue_at(EncodedPayload(KIND, QUEUE, 1, body, None), due)
    assert floor.ended(told.job_id).state == "done"
    assert len(ran_at) == 1
    assert ran_at[0] >= due


def test_an_actor_never_sees_a_job_of_the_future(floor: Floor) -> None:
    """A producer's clock may be ahead."""
    seen: list[datetime] = []
    floor.producer._clock = lambda: datetime.now(UTC) + timedelta(hours=1)

    def behave(job: Job) -> Outcome:
        seen.append(job.enqueued_at)
        return Done()

    floor.open()
    floor.ended(floor.put("b", behave))
    assert seen[0] <= datetime.now(UTC)


def test_a_suspect_is_marked_before_it_runs(floor: Floor) -> None:
    """Should the worker die now, this job is what it died of."""
    job_id = floor.put("b")
    lost = floor.broker()
    assert len(lost.tools.leases.lease(QUEUE, 1, 1).jobs) == 1
    lost.pulse.stop()
    floor.client.zadd(floor.keys.key("workers"), {lost.tools.leases.boot: 1})
    marked: list[bool] = []

    def behave(job: Job) -> Outcome:
        started, lease = floor.client.hmget(floor.keys.job(job.job_id), "started", "lease")
        marked.append(started == lease is not None)
        return Done()

    floor.actor.behaviours["b"] = behave
    floor.open()
    view = floor.ended(job_id)
    assert (view.state, marked) == ("done", [True])
    lost.close()


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"queue": QUEUE, "kind": KIND} | labels) or 0.0


OUTCOMES: dict[str, Any] = {
    "done": lambda: lambda _: Done(),
    "dead": lambda: lambda _: Dead(Code.BATCH_CONFLICT, "told"),
    "retried": lambda: failing(2, ValueError()),
    "postponed": lambda: failing(TRIES, UnavailableError(Code.STORAGE_UNAVAILABLE, "away")),
}


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("done", {"done": 1, "dead": 0, "retried": 0, "postponed": 0}),
        ("dead", {"done": 0, "dead": 1, "retried": 0, "postponed": 0}),
        ("retried", {"done": 1, "dead": 0, "retried": 2, "postponed": 0}),
        ("postponed", {"done": 1, "dead": 0, "retried": 0, "postponed": 1}),
    ],
    ids=OUTCOMES,
)
def test_deliveries_are_counted_and_measured(floor: Floor, name: str, counted: dict[str, int]) -> None:
    def read() -> dict[str, float]:
        finished = {key: sample("penstock_jobs_finished_total", outcome=key) for key in counted}
        return finished | {
            "durations": sample("penstock_job_duration_seconds_count"),
            "waits": sample("penstock_job_wait_seconds_count"),
        }

    before = read()
    floor.open()
    floor.ended(floor.put("b", OUTCOMES[name]()))
    after = read()
    gained = {key: after[key] - before[key] for key in after}
    runs = sum(counted.values())
    assert gained == counted | {"durations": runs, "waits": runs}


def test_neither_logs_nor_records_hold_a_payload(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        floor.open()
        job_id = floor.put("b", failing(99, ValueError(ANSWER)))
        assert floor.ended(job_id).state == "dead"
    assert caplog.records
    for line in caplog.records:
        assert ANSWER not in line.getMessage()
        assert ANSWER not in str(line.exc_text)
    record = floor.client.hgetall(floor.keys.job(job_id))
    header, _, payload = record.pop(b"message").partition(b"\n")
    assert ANSWER.encode() in payload
    assert ANSWER not in str(record) + str(header)
