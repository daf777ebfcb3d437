"""The asynchronous producer: the same promises, and an event loop that goes on meanwhile."""

import asyncio
import inspect
import itertools
import secrets
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from penstock.producers import AsyncProducer, Code, Producer, Progress, Submission, SubmitOptions, WriteSubmissionBatch
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import ConflictError, InvalidInputError, UnavailableError
from penstock.workers.embedded.valkey import EmbeddedValkey

BY_TWO = SubmitOptions(batch_size=2)


def batch(batch_id: str) -> WriteSubmissionBatch:
    return WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=(Submission(answers={"q": "a"}),))


@pytest.fixture
def prefix(namespace: str) -> str:
    return f"{namespace}-{secrets.token_hex(3)}"


Use = Callable[[AsyncProducer], Awaitable[Any]]


@pytest.fixture
def using(redis_url: str, prefix: str) -> Callable[[Use], Any]:
    """Runs a coroutine with a producer, as `async with` does it."""

    def run(use: Use) -> Any:
        async def main() -> Any:
            async with AsyncProducer(Producer(redis_url, namespace=prefix)) as producer:
                return await use(producer)

        return asyncio.run(asyncio.wait_for(main(), 30))

    return run


@pytest.fixture
def queued(redis_url: str, prefix: str) -> Iterator[Callable[[], int]]:
    """How many jobs are in the queue."""
    with redis.Redis.from_url(redis_url) as client:
        yield lambda: int(client.llen(QueueKeys(prefix, "submissions").key("ready:default")))


async def rows(count: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(count):
        await asyncio.sleep(0)
        yield {"answers": {"q": f"a{number}"}}


def test_it_has_every_call_of_the_synchronous_one() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(AsyncProducer) == public(Producer)
    # One that asks nobody need not be awaited.
    awaited = public(Producer).keys() - {"of_tenant"}
    assert all(inspect.iscoroutinefunction(getattr(AsyncProducer, name)) for name in awaited)


def test_each_call_does_what_its_twin_does(using: Callable[[Use], Any], queued: Callable[[], int]) -> None:
    async def use(producer: AsyncProducer) -> None:
        await producer.ping()
        first = await producer.enqueue(batch("a"))
        others = await producer.enqueue_many([batch("b"), batch("c")])
        later = await producer.enqueue_at(batch("d"), datetime.now(UTC) + timedelta(hours=1))
        record = await producer.job(first.job_id)
        assert record is not None
        assert record.state is JobState.READY
        again = await producer.enqueue(batch("a"))
        assert (again.job_id, again.known, first.known) == (first.job_id, True, False)
        ids = [first.job_id, *(one.job_id for one in others), later.job_id]
        assert set(await producer.jobs([*ids, uuid.uuid4()])) == set(ids)
        with pytest.raises(InvalidInputError):
            await producer.enqueue_at(batch("e"), datetime(2026, 11, 22))  # noqa: DTZ001 - the point of the test
        await producer.claim_base("file", "f", 2)
        with pytest.raises(ConflictError):
            await producer.claim_base("file", "g", 2)

    using(use)
    assert queued() == 3


@pytest.mark.parametrize("source", [rows, lambda n: [{"answers": {"q": "a"}}] * n], ids=["asynchronous", "plain"])
def test_rows_are_cut_and_sent(using: Callable[[Use], Any], queued: Callable[[], int], source: Any) -> None:
    done = using(lambda producer: producer.submit("f", source(5), batch_id="s", options=BY_TWO))
    assert (done.batch_ids, done.rows) == (("s-0001", "s-0002", "s-0003"), 5)
    assert queued() == 3


def test_progress_is_told_in_the_loops_thread_before_the_call_returns(using: Callable[[Use], Any]) -> None:
    told: list[tuple[Progress, threading.Thread]] = []

    async def use(producer: AsyncProducer) -> list[Any]:
        def note(progress: Progress) -> None:
            asyncio.get_running_loop()
            told.append((progress, threading.current_thread()))

        await producer.submit("f", rows(5), batch_id="p", options=BY_TWO, on_progress=note)
        return list(told)

    seen = using(use)
    assert [(progress.batches, progress.rows) for progress, _ in seen][-1] == (3, 5)
    assert len(seen) == 3
    assert {thread for _, thread in seen} == {threading.main_thread()}


def test_an_error_of_the_source_reaches_the_caller(using: Callable[[Use], Any]) -> None:
    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield {"answers": {}}
        raise LookupError("the source's own")

    with pytest.raises(LookupError, match="the source's own"):
        using(lambda producer: producer.submit("f", broken(), batch_id="x"))


def test_a_row_that_is_none_does_not_pass_for_the_end(using: Callable[[Use], Any]) -> None:
    """It is the worker's to reject; the rows after it must not be lost."""

    async def holed() -> AsyncIterator[Any]:
        for row in ({"answers": {}}, None, {"answers": {}}):
            yield row

    done = using(lambda producer: producer.submit("f", holed(), batch_id="n"))
    assert done.rows == 3


def test_the_loop_goes_on_while_redis_is_slow(own_valkey: EmbeddedValkey, own_redis: Any) -> None:
    async def main() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        async with AsyncProducer(Producer(own_valkey.url)) as producer:
            ticker = asyncio.create_task(tick())
            own_redis.client_pause(400, all=True)
            await producer.enqueue(batch("slow"))
            after_enqueue = ticks
            await producer.submit("f", rows(200), batch_id="s", options=BY_TWO)
            ticker.cancel()
            return after_enqueue, ticks

    during_enqueue, in_all = asyncio.run(main())
    assert during_enqueue >= 10, "of 80 that an idle machine makes"
    assert in_all > during_enqueue


async def endless() -> AsyncIterator[dict[str, Any]]:
    for number in itertools.count():
        await asyncio.sleep(0)
        yield {"answers": {"q": f"a{number}"}}


async def stuck() -> AsyncIterator[dict[str, Any]]:
    yield {"answers": {"q": "a"}}
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "source",
    [endless, stuck, lambda: ({"answers": {"q": f"a{number}"}} for number in itertools.count())],
    ids=["endless", "stuck", "endless and plain"],
)
def test_a_cancelled_submit_stops(using: Callable[[Use], Any], queued: Callable[[], int], source: Any) -> None:
    """`asyncio.run` waits for its threads: one that goes on for ever would hang the process."""

    async def use(producer: AsyncProducer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.submit("f", source(), batch_id="c", options=BY_TWO), 0.2)

    using(use)
    at_the_end = queued()
    assert queued() == at_the_end


def test_redis_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with AsyncProducer.from_environment({"REDIS_URL": "redis://127.0.0.1:9/0"}) as producer:
            await producer.enqueue(batch("b"))

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(main())
    assert caught.value.code is Code.QUEUE_UNAVAILABLE
