"""A producer and a full queue: it says so at once, or waits for room and goes on by itself."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from penstock.producers import (
    AsyncProducer,
    Bounds,
    Patience,
    Producer,
    QueueFullError,
    SubmitOptions,
    UnavailableError,
    Waiting,
)
from penstock.producers.patience import patiently
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.errors import Code, PenstockError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases, Settlement, Verb, new_boot_id
from tests.producers.looks import batch, waiting

LIMIT = 3
ROWS = [{"answers": {"q": str(number)}} for number in range(10)]


@pytest.fixture
def bounded(redis_url: str, prefix: str) -> Iterator[Producer]:
    """A producer whose queues take three jobs each."""
    with Producer(redis_url, tenant="acme", namespace=prefix, bounds=Bounds(jobs=LIMIT)) as made:
        yield made


@pytest.fixture
def work_off(client: Any, prefix: str) -> Callable[..., None]:
    """A worker that does what it finds, once it is called."""
    leases = Leases(client, prefix, new_boot_id(), timedelta(seconds=30))
    requests = count(1)

    def work(*_: object) -> None:
        while jobs := leases.lease("submissions", 10, next(requests)).jobs:
            assert all(leases.settle("submissions", [Settlement(job, Verb.ACK) for job in jobs]))

    return work


def unkeyed(number: int) -> EncodedPayload:
    return EncodedPayload("test.kind", Queue.SUBMISSIONS, 1, b"%d" % number, None)


def accepted(client: Any, prefix: str) -> int:
    return QueueInspector(client, prefix).counts("submissions").accepted


def test_it_says_which_jobs_found_room_and_when_to_come_again(bounded: Producer, client: Any, prefix: str) -> None:
    with pytest.raises(QueueFullError) as caught:
        bounded.enqueue_many(unkeyed(number) for number in range(5))
    assert isinstance(caught.value, UnavailableError)
    assert caught.value.details == {"taken": 3, "refused": [3, 4]}
    assert timedelta(seconds=1) <= (caught.value.retry_after or timedelta()) <= timedelta(minutes=5)
    assert waiting(client, prefix) == [str(one.job_id) for one in caught.value.offered if one]


def test_a_full_queue_is_in_no_other_ones_way(bounded: Producer, client: Any, prefix: str) -> None:
    other = EncodedPayload("test.other", Queue.POSTS, 1, b"1", None)
    jobs = [*(unkeyed(number) for number in range(4)), other]
    with pytest.raises(QueueFullError) as caught:
        bounded.enqueue_many(jobs)
    assert caught.value.details == {"taken": 4, "refused": [3]}
    assert QueueInspector(client, prefix).counts("posts").accepted == 1


def test_a_known_batch_is_known_however_full_the_queue(bounded: Producer) -> None:
    for name in "abc":
        bounded.enqueue(batch(name))
    assert bounded.enqueue(batch("b")).known
    with pytest.raises(PenstockError) as conflict:
        bounded.enqueue(batch("b", "other"))
    assert conflict.value.code is Code.BATCH_CONFLICT
    with pytest.raises(QueueFullError):
        bounded.enqueue(batch("d"))


def test_it_waits_until_all_have_found_room_and_sends_none_twice(
    bounded: Producer, client: Any, prefix: str, work_off: Callable[..., None]
) -> None:
    told: list[Waiting] = []

    def on_wait(waits: Waiting) -> None:
        told.append(waits)
        work_off()

    done = bounded.enqueue_many((unkeyed(number) for number in range(8)), on_full=Patience(on_wait=on_wait))
    assert len({one.job_id for one in done}) == accepted(client, prefix) == 8
    assert not any(one.known for one in done)
    assert [waits.error.code for waits in told] == [Code.QUEUE_FULL] * 2
    assert told[0].waited < told[0].pause <= told[1].waited


def test_its_patience_has_an_end(bounded: Producer, client: Any, prefix: str) -> None:
    bounded.enqueue_many(unkeyed(number) for number in range(LIMIT))
    with pytest.raises(QueueFullError) as caught:
        bounded.enqueue(unkeyed(9), on_full=Patience(timedelta(milliseconds=50)))
    assert caught.value.code is Code.QUEUE_FULL
    assert accepted(client, prefix) == LIMIT


def test_a_submit_waits_by_itself(bounded: Producer, client: Any, prefix: str, work_off: Callable[..., None]) -> None:
    options = SubmitOptions(batch_size=1, on_full=Patience(on_wait=work_off))
    told = bounded.submit("f", ROWS, batch_id="s", options=options)
    assert (len(told.batch_ids), told.rows, accepted(client, prefix)) == (10, 10, 10)
    assert SubmitOptions().on_full == "wait"


def test_a_submit_may_raise_instead_and_the_same_call_goes_on(
    bounded: Producer, client: Any, prefix: str, work_off: Callable[..., None]
) -> None:
    at_once = SubmitOptions(batch_size=1, in_flight=1, on_full="raise")
    for sent in (3, 6, 9):
        with pytest.raises(QueueFullError) as caught:
            bounded.submit("f", ROWS, batch_id="s", options=at_once)
        assert caught.value.details["batches_sent"] == sent
        work_off()
    assert len(bounded.submit("f", ROWS, batch_id="s", options=at_once).batch_ids) == 10
    assert accepted(client, prefix) == 10


def test_a_submit_that_fails_leaves_nobody_waiting(bounded: Producer) -> None:
    """The batches that wait for room would keep it from ending."""
    waits = threading.Event()

    def rows() -> Iterator[Any]:
        yield from ROWS[: LIMIT + 2]
        assert waits.wait(30)
        yield object()

    patience = Patience(timedelta(hours=1), on_wait=lambda _: waits.set())
    # More than there are: else it would wait for the first batch, which may be one of those that find no room.
    options = SubmitOptions(batch_size=1, in_flight=LIMIT + 3, on_full=patience)
    with pytest.raises((TypeError, PenstockError)):
        bounded.submit("f", rows(), batch_id="s", options=options)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("penstock-submit")]


def test_a_wait_that_is_cancelled_is_over_in_its_thread_too(bounded: Producer, client: Any, prefix: str) -> None:
    async def run() -> None:
        producer = AsyncProducer(bounded)
        await producer.enqueue_many([unkeyed(number) for number in range(LIMIT)])
        waits, loop = asyncio.Event(), asyncio.get_running_loop()
        patience = Patience(timedelta(hours=1), on_wait=lambda _: loop.call_soon_threadsafe(waits.set))
        task = asyncio.create_task(producer.enqueue(unkeyed(9), on_full=patience))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The loop's threads are joined: one that went on waiting would keep it for an hour.
        await loop.shutdown_default_executor()

    asyncio.run(run())
    assert accepted(client, prefix) == LIMIT


class Steps:
    """A clock that moves when somebody sleeps, and a call that fails so often."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.now = 0.0
        self.slept: list[float] = []

    def call(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def run(self, patience: Patience | None) -> str:
        return patiently(self.call, patience, clock=lambda: self.now, sleep=self.sleep)


def full(seconds: float | None, code: Code = Code.QUEUE_FULL) -> UnavailableError:
    return UnavailableError(code, "full", retry_after=None if seconds is None else timedelta(seconds=seconds))


def test_it_comes_again_when_it_was_told_to_and_every_ten_seconds_at_least() -> None:
    steps = Steps(full(4), full(300), full(None))
    assert steps.run(Patience()) == "done"
    for slept, told in zip(steps.slept, (4, 10, 2), strict=True):
        assert 0.8 * told <= slept <= 1.2 * told


def test_it_waits_no_longer_than_its_limit_in_all() -> None:
    steps = Steps(*(full(10) for _ in range(10)))
    with pytest.raises(UnavailableError):
        steps.run(Patience(timedelta(seconds=25)))
    assert sum(steps.slept) == pytest.approx(25)


@pytest.mark.parametrize("error", [full(1, Code.QUEUE_UNAVAILABLE), PenstockError(Code.QUEUE_REFUSED, "no")])
def test_it_waits_for_nothing_else(error: PenstockError) -> None:
    steps = Steps(error)
    with pytest.raises(PenstockError):
        steps.run(Patience())
    assert steps.slept == []


def test_redis_without_memory_is_waited_for_too(bounded: Producer, client: Any, prefix: str) -> None:
    assert Steps(full(1, Code.QUEUE_OUT_OF_MEMORY)).run(Patience()) == "done"


def test_the_counters_are_where_the_docs_say(bounded: Producer, client: Any, redis_url: str, prefix: str) -> None:
    keys = QueueKeys(prefix, "submissions")
    bounded.enqueue(unkeyed(1))
    counters = {name for name in client.hgetall(keys.key("meta")) if name.startswith(b"held")}
    assert counters == {b"held_generation", b"held_jobs", b"held_bytes"}
    assert not client.exists(keys.key("held"))
    with Producer(redis_url, tenant="acme", namespace=prefix, bounds=Bounds(tenant_jobs=9)) as of_tenants:
        of_tenants.enqueue(unkeyed(2))
    assert client.hgetall(keys.key("held")).keys() == {b"jobs:acme", b"bytes:acme"}
