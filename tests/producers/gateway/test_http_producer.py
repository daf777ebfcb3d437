"""The gateway's client against a real gateway: what one tells the other understands."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.producers import Code, Producer, Submission, SubmitOptions, WriteSubmissionBatch
from penstock.producers.async_http_client import AsyncHttpProducer
from penstock.producers.http_client import HttpProducer
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from penstock.schemas.identity import job_id
from tests.producers.gateway.gateway_kit import FORM, FORM_ID, Gateway, serving
from tests.system import WorkerProcess, wait_for

KIND = "submission_batch.write"


@pytest.fixture
def producer(gateway: Gateway) -> Iterator[HttpProducer]:
    with HttpProducer(gateway.url) as made:
        yield made


def rows(count: int, text: str = "a") -> list[dict[str, Any]]:
    return [{"answers": {"q": f"{text}{number}"}} for number in range(count)]


def test_a_form_is_put_once_and_read_again(producer: HttpProducer) -> None:
    producer.ping()
    first = producer.put_form("client-form", FORM)
    again = producer.put_form("client-form", FORM)
    assert (first.version, first.created, again.version, again.created) == (1, True, 1, False)
    found = producer.form("client-form", 1)
    assert found is not None
    assert found["form_id"] == "client-form"
    assert producer.form("no-form") is None
    with pytest.raises(InvalidInputError) as caught:
        producer.put_form("bad", {"title": "x", "questions": [{"id": "q"}]})
    assert caught.value.code is Code.FORM_INVALID
    assert caught.value.details["errors"]


def test_a_stream_is_the_same_work_as_by_the_other_producer(
    producer: HttpProducer, environment: dict[str, str]
) -> None:
    told = producer.submit(FORM_ID, rows(2_500), batch_id="client-1")
    assert (told.batch_ids, told.rows) == (("client-1-0001", "client-1-0002", "client-1-0003"), 2_500)
    assert producer.submit(FORM_ID, iter(rows(2_500)), batch_id="client-1") == told
    with Producer.from_environment(environment) as direct:
        assert direct.submit(FORM_ID, rows(2_500), batch_id="client-1") == told
        first = job_id(direct.tenant, KIND, "client-1-0001")
        assert producer.job(first) == direct.job(first)
        assert producer.jobs([first, uuid.uuid4()]) == direct.jobs([first])
    with pytest.raises(ConflictError) as caught:
        producer.submit(FORM_ID, rows(2_500, "other"), batch_id="client-1")
    assert caught.value.code is Code.BATCH_CONFLICT


def test_a_bad_line_is_told_with_what_was_accepted_before_it(producer: HttpProducer) -> None:
    with pytest.raises(InvalidInputError) as caught:
        producer.submit(FORM_ID, [*rows(1_500), b"{"], batch_id="client-2")
    assert caught.value.details["accepted"]["rows"] == 1_000
    assert producer.submit(FORM_ID, rows(1_500), batch_id="client-2").rows == 1_500


def test_a_form_that_is_not_there(producer: HttpProducer) -> None:
    with pytest.raises(NotFoundError) as caught:
        producer.submit("no-form", rows(1), batch_id="client-3")
    assert caught.value.code is Code.FORM_NOT_FOUND


def test_a_batchs_life_is_told(producer: HttpProducer, start_worker: Callable[..., WorkerProcess]) -> None:
    assert producer.batch("client-4") is None
    with pytest.raises(NotFoundError):
        next(producer.rejections("client-4"))
    producer.submit(FORM_ID, [*rows(1_001), {"answers": {"unknown": 1}}], batch_id="client-4")
    before = producer.batch("client-4-0001")
    assert before is not None
    assert (before.state, before.stored) == ("ready", None)
    start_worker().wait_until_ready()

    def is_done() -> bool:
        found = producer.batch("client-4")
        return found is not None and found.state == "done"

    wait_for(is_done, "both batches to be committed")
    whole, part = producer.batch("client-4"), producer.batch("client-4-0002")
    assert whole is not None
    assert part is not None
    assert (whole.stored, whole.rejected, whole.duplicates) == (1_001, 1, 0)
    assert (part.state, part.stored, part.rejected) == ("done", 1, 1)
    (rejected,) = producer.rejections("client-4")
    assert (rejected.batch_id, rejected.position) == ("client-4-0002", 1)
    assert rejected.content == {"answers": {"unknown": 1}}
    assert rejected.faults[0]["code"] == "ANSWER_UNKNOWN_QUESTION"
    record = producer.job(job_id("default", KIND, "client-4-0001"))
    assert record is not None
    assert record.state is JobState.DONE


def test_a_full_queue_is_told_with_when_to_come_again(
    environment: dict[str, str], tmp_path: Any, gateway: Gateway
) -> None:
    with (
        serving(environment, tmp_path, PENSTOCK_QUEUE_LIMIT_JOBS="1") as full,
        HttpProducer(full.url) as producer,
        Producer.from_environment(environment) as direct,
    ):
        # A worker of another test may run, so it is one that stays.
        direct.enqueue_at(_later(), datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(UnavailableError) as caught:
            producer.submit(FORM_ID, rows(1), batch_id="client-5", options=SubmitOptions(on_full="raise"))
        assert caught.value.code is Code.QUEUE_FULL
        assert timedelta(seconds=1) <= (caught.value.retry_after or timedelta()) <= timedelta(minutes=5)


def _later() -> Any:
    return WriteSubmissionBatch(form_id=FORM_ID, batch_id="later", submissions=(Submission(answers={}),))


def test_awaited_it_is_the_same(gateway: Gateway) -> None:
    async def run() -> None:
        async with AsyncHttpProducer(gateway.url) as producer:
            await producer.ping()
            told = await producer.submit(FORM_ID, rows(3), batch_id="client-6")
            assert told.batch_ids == ("client-6-0001",)
            assert await producer.batch("client-6-0001") is not None

    asyncio.run(run())
