"""The double for users' tests behaves as the real producer does: one suite for both, and what the double adds."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from penstock.producers import AsyncProducer, Bounds, Code, Producer, QueueFullError, SubmitOptions
from penstock.producers.queue.records import JobState
from penstock.producers.testing import RecordingProducer
from penstock.schemas.errors import ConflictError, InvalidInputError, PenstockError, UnavailableError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from tests.producers.looks import KIND, batch

ROWS = [{"answers": {"q": str(number)}} for number in range(25)]


@dataclass
class Side:
    """A producer, and what becomes of its next job."""

    producer: Producer
    end: Callable[[uuid.UUID, JobState], None]


def real(redis_url: str, prefix: str, client: Any, options: dict[str, Any]) -> Side:
    leases, numbers = Leases(client, prefix, new_boot_id(), timedelta(seconds=30)), count(1)
    verbs: dict[JobState, tuple[Verb, dict[str, Any]]] = {
        JobState.DONE: (Verb.ACK, {}),
        JobState.DEAD: (Verb.BURY, {"code": "C", "told": "t"}),
    }

    def end(identity: uuid.UUID, state: JobState) -> None:
        (leased,) = leases.lease("submissions", 1, next(numbers)).jobs
        assert leased.job_id == str(identity)
        assert leases.settle("submissions", [Settlement(leased, *verbs[state])]) == [True]

    return Side(Producer(redis_url, tenant="acme", namespace=prefix, **options), end)


def double(options: dict[str, Any]) -> Side:
    producer = RecordingProducer(tenant="acme", **options)
    ends = {JobState.DONE: producer.finish, JobState.DEAD: producer.bury}
    return Side(producer, lambda identity, state: ends[state](identity))


@pytest.fixture(params=["real", "double"])
def make(request: pytest.FixtureRequest, redis_url: str, prefix: str, client: Any) -> Iterator[Callable[..., Side]]:
    made: list[Side] = []

    def make_one(**options: Any) -> Side:
        made.append(real(redis_url, prefix, client, options) if request.param == "real" else double(options))
        return made[-1]

    yield make_one
    for side in made:
        side.producer.close()


def other(number: int) -> EncodedPayload:
    return EncodedPayload("test.kind", Queue.POSTS, 1, b"%d" % number, None)


def test_a_job_and_its_record(make: Callable[..., Side]) -> None:
    producer = make().producer
    producer.ping()
    told = producer.enqueue(batch("b"))
    assert told.job_id == job_id("acme", KIND, "b")
    assert (told.kind, told.queue, told.known, told.state, told.durability) == (
        KIND, "submissions", False, JobState.READY, "redis",
    )  # fmt: skip
    record = producer.job(told.job_id)
    assert record is not None
    assert (record.state, record.kind, record.tenant, record.queue) == (JobState.READY, KIND, "acme", "submissions")
    assert producer.job(uuid.uuid4()) is None
    assert producer.jobs([told.job_id, uuid.uuid4()]).keys() == {told.job_id}


def test_the_same_key_again_and_with_other_content(make: Callable[..., Side]) -> None:
    producer = make().producer
    first = producer.enqueue(batch("b"))
    assert producer.enqueue(batch("b")).known
    assert producer.enqueue(other(1), idempotency_key="k").job_id == job_id("acme", "test.kind", "k")
    with pytest.raises(ConflictError) as caught:
        producer.enqueue_many([batch("c"), batch("b", "other"), batch("d")])
    assert caught.value.code is Code.BATCH_CONFLICT
    assert caught.value.details == {"conflicts": [str(first.job_id)]}
    assert caught.value.message == "'b' is known with other content"
    assert producer.enqueue(batch("d")).known
    with pytest.raises(ConflictError) as plain:
        producer.enqueue(other(2), idempotency_key="k")
    assert plain.value.code is Code.JOB_CONFLICT


def test_without_a_key_each_call_is_a_job(make: Callable[..., Side]) -> None:
    producer = make().producer
    assert len({one.job_id for one in producer.enqueue_many([other(1), other(1), other(1)])}) == 3


@pytest.mark.parametrize(
    ("ahead", "state"), [(timedelta(hours=1), JobState.SCHEDULED), (-timedelta(1), JobState.READY)]
)
def test_a_job_for_later(make: Callable[..., Side], ahead: timedelta, state: JobState) -> None:
    producer = make().producer
    assert producer.enqueue_at(batch("at"), datetime.now(UTC) + ahead).state is state
    assert producer.enqueue(batch("delayed"), delay=max(ahead, timedelta(0))).state is state
    with pytest.raises(InvalidInputError, match="aware"):
        producer.enqueue_at(batch("naive"), datetime(2030, 1, 1))  # noqa: DTZ001  the point of it


def test_jobs_spread_over_a_time(make: Callable[..., Side]) -> None:
    told = make().producer.enqueue_many([other(number) for number in range(3)], spread=timedelta(hours=3))
    assert [one.state for one in told] == [JobState.READY, JobState.SCHEDULED, JobState.SCHEDULED]


@pytest.mark.parametrize("state", [JobState.DONE, JobState.DEAD])
def test_a_job_that_ended_is_known_or_revived(make: Callable[..., Side], state: JobState) -> None:
    side = make()
    told = side.producer.enqueue(batch("b"))
    side.end(told.job_id, state)
    again = side.producer.enqueue(batch("b"))
    assert (again.known, again.state) == (True, state)
    revived = side.producer.enqueue(batch("b"), revive=[state])
    assert (revived.known, revived.state) == (False, JobState.READY)
    with pytest.raises(ConflictError):
        side.producer.enqueue(batch("b", "other"), revive=[state])


def test_a_submit(make: Callable[..., Side]) -> None:
    producer = make().producer
    options = SubmitOptions(batch_size=10)
    told = producer.submit("f", ROWS, batch_id="s", options=options)
    assert (told.batch_ids, told.rows) == (("s-0001", "s-0002", "s-0003"), 25)
    assert producer.submit("f", ROWS, batch_id="s", options=options) == told
    with pytest.raises(ConflictError) as caught:
        producer.submit("f", ROWS, batch_id="s", options=SubmitOptions(batch_size=5))
    assert caught.value.message == (
        "'s' was sent to the form 'f' in batches of 10 rows, and not to 'f' in batches of 5"
    )


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda producer: producer.submit("a/b", ROWS, batch_id="s"), Code.FORM_ID_INVALID),
        (lambda producer: producer.submit("f", ROWS, batch_id="a b"), Code.BATCH_ID_INVALID),
        (lambda producer: producer.enqueue(batch("b", "long" * 50)), Code.SUBMISSION_TOO_LARGE),
        (lambda producer: producer.claim_base("a/b", "f", 1), Code.BATCH_ID_INVALID),
        (lambda producer: producer.of_tenant("a/b"), Code.REQUEST_TENANT_INVALID),
        (lambda producer: producer.enqueue_many([other(1)], idempotency_keys=["a", "b"]), Code.REQUEST_USAGE),
    ],
)
def test_what_is_refused_at_once(make: Callable[..., Side], call: Callable[[Producer], object], code: Code) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call(make(limits=Limits(row_bytes=100)).producer)
    assert caught.value.code is code


@pytest.mark.parametrize(
    "bounds", [Bounds(jobs=2), Bounds(tenant_jobs=2), Bounds(bytes=400), Bounds(tenant_bytes=400)], ids=str
)
def test_a_full_queue(make: Callable[..., Side], bounds: Bounds) -> None:
    side = make(bounds=bounds)
    first = side.producer.enqueue(batch("a"))
    side.producer.enqueue(batch("b"))
    with pytest.raises(QueueFullError) as caught:
        side.producer.enqueue_many([batch("c"), batch("b")])
    assert caught.value.code is Code.QUEUE_FULL
    assert caught.value.details == {"taken": 1, "refused": [0]}
    assert caught.value.retry_after is not None
    side.end(first.job_id, JobState.DONE)
    assert not side.producer.enqueue(batch("c")).known


def test_another_tenant_over_the_same_connections(make: Callable[..., Side]) -> None:
    producer = make().producer
    theirs = producer.of_tenant("globex").enqueue(batch("b"))
    assert theirs.job_id == job_id("globex", KIND, "b")
    assert not producer.enqueue(batch("b")).known
    assert producer.jobs([theirs.job_id])[theirs.job_id].tenant == "globex"


def test_what_was_recorded_can_be_looked_at() -> None:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    producer = RecordingProducer(tenant="acme", clock=lambda: now)
    producer.enqueue(batch("b"))
    producer.enqueue_at(other(7), now + timedelta(hours=2), idempotency_key="k")
    producer.enqueue(batch("b"))
    first, second = producer.recorded
    assert first.payload == batch("b")
    assert (first.kind, first.queue, first.tenant, first.idempotency_key) == (KIND, "submissions", "acme", "b")
    assert (first.run_at, first.enqueued_at, first.state) == (None, now, JobState.READY)
    assert (second.payload, second.body, second.run_at) == (None, b"7", now + timedelta(hours=2))
    assert producer.recorded_of("test.kind") == [second]
    assert "hello" not in repr(first)
    producer.clear()
    assert producer.recorded == []


def test_a_large_batch_is_recorded_as_it_was_before_compression() -> None:
    producer = RecordingProducer()
    producer.submit("f", ROWS * 40, batch_id="s")
    (job,) = producer.recorded
    assert len(job.body) > 10_000
    assert job.body.startswith(b'{"form_id":"f","batch_id":"s-0001"')
    assert job.message_bytes < len(job.body)


@pytest.mark.parametrize("row", [b"[]", {"answer": {}}, {"answers": {}, "id": "x" * 201}])
def test_rows_that_a_worker_would_reject_for_their_form_are_told(row: Any) -> None:
    producer = RecordingProducer()
    with pytest.raises(InvalidInputError) as caught:
        producer.submit("f", [row], batch_id="s")
    assert caught.value.code is Code.JOB_PAYLOAD_INVALID
    assert "submissions.0" in caught.value.message
    assert producer.recorded == []


def test_an_outage_can_be_played() -> None:
    producer = RecordingProducer()
    producer.fail(UnavailableError(Code.QUEUE_UNAVAILABLE, "away"))
    with pytest.raises(PenstockError):
        producer.enqueue(batch("b"))
    assert not producer.enqueue(batch("b")).known


def test_the_asynchronous_producer_takes_it_too() -> None:
    producer = RecordingProducer()

    async def run() -> None:
        async with AsyncProducer(producer) as awaited:
            await awaited.enqueue(batch("b"))

    asyncio.run(run())
    assert len(producer.recorded) == 1


def test_it_needs_no_server_and_nothing_beyond_the_base_install() -> None:
    """In a process of its own: importing it loads no library of the extras."""
    code = (
        "import sys; from penstock.producers.testing import RecordingProducer; p = RecordingProducer();"
        "p.submit('f', [{'answers': {}}], batch_id='b'); p.close();"
        "print([n for n in ('psycopg', 'dramatiq', 'httpx', 'msgspec', 'click') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
