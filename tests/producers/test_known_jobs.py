"""A job that is enqueued again: it adds nothing, or is a conflict, or gets a new life where that is asked for."""

from datetime import timedelta
from typing import Any

import pytest

from penstock.producers import Code, JobState, Producer, Windows
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import ConflictError, InvalidInputError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from tests.producers.looks import KIND, batch, envelope, waiting


def finish(client: Any, prefix: str, *, verb: Verb = Verb.ACK) -> None:
    """End every ready job as a worker does."""
    leases = Leases(client, prefix, new_boot_id(), timedelta(seconds=30))
    jobs = leases.lease("submissions", 100, 1).jobs
    detail = {"code": "JOB_PAYLOAD_INVALID", "told": "told"} if verb is Verb.BURY else {}
    assert all(leases.settle("submissions", [Settlement(job, verb, detail) for job in jobs]))


@pytest.mark.parametrize(
    ("key", "window"),
    [("k", timedelta(hours=5)), (None, timedelta(minutes=7))],
    ids=["with an idempotency key", "without one"],
)
def test_a_finished_job_is_known_for_its_window(
    redis_url: str, client: Any, prefix: str, key: str | None, window: timedelta
) -> None:
    windows = Windows(keyed=timedelta(hours=5), unkeyed=timedelta(minutes=7))
    payload = EncodedPayload(KIND, Queue.SUBMISSIONS, 1, b"{}", key)
    with Producer(redis_url, tenant="acme", namespace=prefix, windows=windows) as producer:
        told = producer.enqueue(payload)
        finish(client, prefix)
        record = producer.job(told.job_id)
    assert record is not None
    assert record.state is JobState.DONE
    left = timedelta(milliseconds=client.pttl(QueueKeys(prefix, "submissions").job(told.job_id)))
    assert window - timedelta(minutes=1) < left <= window


def test_the_same_batch_is_the_same_job_and_adds_nothing(
    producer: Producer, redis_url: str, client: Any, prefix: str
) -> None:
    first = producer.enqueue(batch("b"))
    again = producer.enqueue(batch("b"))
    assert (again.job_id, again.known, again.state) == (first.job_id, True, JobState.READY)
    assert waiting(client, prefix) == [str(first.job_id)]
    assert producer.enqueue(batch("c")).job_id != first.job_id
    with Producer(redis_url, tenant="globex", namespace=prefix) as other:
        told = other.enqueue(batch("b"))
    assert (told.known, told.job_id == first.job_id) == (False, False)


@pytest.mark.parametrize(
    ("revive", "known"),
    [((), True), ((JobState.DEAD,), True), ((JobState.DONE,), False)],
    ids=["not asked", "another state", "asked"],
)
def test_a_batch_that_is_done_runs_again_only_where_that_is_asked_for(
    producer: Producer, client: Any, prefix: str, revive: tuple[JobState, ...], known: bool
) -> None:
    first = producer.enqueue(batch("b"))
    finish(client, prefix)
    again = producer.enqueue(batch("b"), revive=revive)
    assert (again.job_id, again.known) == (first.job_id, known)
    assert waiting(client, prefix) == ([] if known else [str(first.job_id)])


def test_a_dead_batch_that_is_submitted_again_gets_a_new_life(producer: Producer, client: Any, prefix: str) -> None:
    rows = [{"answers": {"q": "a"}}]
    producer.submit("f", rows, batch_id="file")
    identity = job_id("acme", KIND, "file-0001")
    finish(client, prefix, verb=Verb.BURY)
    assert producer.jobs([identity])[identity].state is JobState.DEAD
    producer.submit("f", rows, batch_id="file")
    assert producer.jobs([identity])[identity].state is JobState.READY
    assert waiting(client, prefix) == [str(identity)]


def test_another_content_under_a_known_id_is_a_conflict(producer: Producer, client: Any, prefix: str) -> None:
    first = producer.enqueue(batch("b", "hello"))
    with pytest.raises(ConflictError) as caught:
        producer.enqueue(batch("b", "my-private-answer"))
    assert caught.value.code is Code.BATCH_CONFLICT
    assert caught.value.details == {"conflicts": [str(first.job_id)]}
    assert "my-private-answer" not in str(caught.value.as_dict())
    assert envelope(client, prefix, first.job_id)[1]["submissions"] == [{"answers": {"q": "hello"}}]
    assert waiting(client, prefix) == [str(first.job_id)]


def test_a_kind_without_a_code_of_its_own_has_a_job_conflict(producer: Producer) -> None:
    producer.enqueue(EncodedPayload("k", Queue.POSTS, 1, b"{}", None), idempotency_key="one")
    with pytest.raises(ConflictError) as caught:
        producer.enqueue(EncodedPayload("k", Queue.POSTS, 1, b"[]", None), idempotency_key="one")
    assert caught.value.code is Code.JOB_CONFLICT


def test_of_many_jobs_only_those_in_conflict_are_left_out(producer: Producer, client: Any, prefix: str) -> None:
    producer.enqueue_many([batch("a"), batch("c")])
    with pytest.raises(ConflictError) as caught:
        producer.enqueue_many([batch("a", "x"), batch("b"), batch("c", "x"), batch("d")])
    ids = {name: str(job_id("acme", KIND, name)) for name in "abcd"}
    assert caught.value.details == {"conflicts": [ids["a"], ids["c"]]}
    assert "2 of the jobs" in caught.value.message
    assert waiting(client, prefix) == [ids[name] for name in "acbd"]


def test_jobs_without_a_key_are_all_different(producer: Producer, client: Any, prefix: str) -> None:
    payload = EncodedPayload(KIND, Queue.SUBMISSIONS, 1, b"{}", None)
    told = producer.enqueue_many([payload] * 3)
    assert len({one.job_id for one in told}) == 3
    assert waiting(client, prefix) == [str(one.job_id) for one in told]


def test_a_key_that_is_given_goes_before_the_payloads_own(producer: Producer) -> None:
    told = producer.enqueue_many([batch("a"), batch("a")], idempotency_keys=["mine", None])
    assert [one.job_id for one in told] == [job_id("acme", KIND, "mine"), job_id("acme", KIND, "a")]
    with pytest.raises(InvalidInputError) as caught:
        producer.enqueue_many([batch("a")], idempotency_keys=[])
    assert caught.value.code is Code.REQUEST_USAGE
