"""What surrounds a delivery: the list of middleware, and measures that no failure of theirs can turn against a job."""

from typing import Any

import dramatiq
import pytest
from prometheus_client import REGISTRY

from penstock.schemas.envelope import EnvelopeHeader
from penstock.workers.broker.delivery import Delivery, OpenedJob, deliver_work
from penstock.workers.broker.leases import LeasedJob, Settlement, Verb
from penstock.workers.middleware import middleware
from penstock.workers.middleware.context import BindJobs
from penstock.workers.middleware.metrics import MeasureJobs
from penstock.workers.middleware.traces import TraceJobs
from penstock.workers.telemetry.metrics import JOB_WAIT

BROKER: Any = None


def delivery(kind: str, waits_ms: list[int]) -> Delivery:
    """A delivery of jobs that waited so long."""
    jobs = []
    for number, wait in enumerate(waits_ms):
        leased = LeasedJob(
            "posts", f"j{number}", kind, "t", b"", "b/1", 0, 0, 0, 0, None, None, 1_000, 1_000 + wait, suspect=False
        )
        header = EnvelopeHeader.model_validate(
            {
                "id": "0193f2a0-0000-7000-8000-000000000000",
                "kind": kind,
                "queue": "posts",
                "enqueued_at": "2026-01-01T00:00:00Z",
            }
        )
        jobs.append(OpenedJob(leased, header, b""))
    return deliver_work(jobs)


def sample(name: str, kind: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"queue": "posts", "kind": kind} | labels) or 0.0


def test_the_middleware_is_one_list() -> None:
    assert [type(one) for one in middleware()] == [BindJobs, TraceJobs, MeasureJobs]


def test_each_job_of_a_delivery_is_measured_by_its_own_end() -> None:
    kind = "measured.each"
    made = delivery(kind, [500, 1_500, -7])
    *_, measure = middleware()
    measure.before_process_message(BROKER, made)
    assert sample("penstock_job_wait_seconds_count", kind) == 3
    # A clock that went back is no negative wait.
    assert sample("penstock_job_wait_seconds_sum", kind) == pytest.approx(2.0)
    assert made.work is not None
    verbs = [Verb.ACK, Verb.BURY, Verb.RETRY]
    made.work.settlements = [Settlement(job.leased, verb) for job, verb in zip(made.jobs, verbs, strict=True)]
    measure.after_process_message(BROKER, made)
    outcomes = {
        name: sample("penstock_jobs_finished_total", kind, outcome=name) for name in ("done", "dead", "retried")
    }
    assert outcomes == {"done": 1, "dead": 1, "retried": 1}
    assert sample("penstock_job_duration_seconds_count", kind) == 3


@pytest.mark.parametrize("amount", [0, 0.005, 0.0051, 3.0, 1e9])
def test_what_many_jobs_have_alike_is_as_if_each_had_been_observed(amount: float) -> None:
    one_by_one, at_once = (JOB_WAIT.labels("posts", f"alike.{amount}.{name}") for name in ("each", "all"))
    for _ in range(3):
        one_by_one.observe(amount)
    at_once.observe_alike(amount, 3)
    each, together = (
        {
            (sample.name, sample.labels.get("le")): sample.value
            for metric in JOB_WAIT.collect()
            for sample in metric.samples
            if sample.labels["kind"] == f"alike.{amount}.{name}" and not sample.name.endswith("_created")
        }
        for name in ("each", "all")
    )
    assert each == together
    assert each["penstock_job_wait_seconds_count", None] == 3


@pytest.mark.parametrize("verb", list(Verb))
def test_each_end_is_an_outcome(verb: Verb) -> None:
    kind = f"measured.{verb}"
    made = delivery(kind, [0])
    *_, measure = middleware()
    measure.before_process_message(BROKER, made)
    assert made.work is not None
    made.work.settlements = [Settlement(made.jobs[0].leased, verb)]
    measure.after_process_message(BROKER, made)
    assert sample("penstock_job_duration_seconds_count", kind) == 1


def test_a_plain_message_is_left_alone() -> None:
    message: dramatiq.Message[Any] = dramatiq.Message("posts", "plain", (), {}, {})
    proxy = dramatiq.MessageProxy(message)
    *_, measure = middleware()
    measure.before_process_message(BROKER, proxy)
    measure.after_process_message(BROKER, proxy)
    assert sample("penstock_job_duration_seconds_count", "plain") == 0


def test_nothing_is_measured_of_what_was_never_begun() -> None:
    made = delivery("measured.never", [0])
    *_, measure = middleware()
    measure.after_process_message(BROKER, made)
    assert sample("penstock_job_duration_seconds_count", "measured.never") == 0


def test_no_log_line_of_a_delivery_shows_its_payload() -> None:
    made = delivery("measured.shown", [0])
    opened = OpenedJob(made.jobs[0].leased, made.jobs[0].header, b"hunter2")
    assert "hunter2" not in f"{deliver_work([opened])} {opened!r} {deliver_work([opened])!r}"
