"""The gateway's client and what goes wrong: what it sends again, what it does not, what it waits for and tells."""

import asyncio
import inspect
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from penstock.producers import Code, Patience, Producer, SubmitOptions, traced
from penstock.producers.async_http_client import AsyncHttpProducer
from penstock.producers.http_client import HttpProducer
from penstock.producers.http_results import error_of
from penstock.producers.interface import WorkProducer
from penstock.producers.queue.records import JobState
from penstock.producers.testing import RecordingProducer
from penstock.schemas.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from penstock.schemas.limits import Limits
from penstock.schemas.scheduled_post import SchedulePost
from tests.producers.scripted_gateway import ScriptedGateway, Told, problem, scripted_gateway

ROWS: list[Any] = [{"answers": {"q": f"a{number}"}} for number in range(3)]
ACCEPTED = Told(202, {"base_batch_id": "s", "batch_count": 1, "rows": 3})
LOST = Told(None)


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as made:
        yield made


@pytest.fixture
def producer(gateway: ScriptedGateway) -> Iterator[HttpProducer]:
    with HttpProducer(gateway.url, api_key="pk_test_secret") as made:
        yield made


def post() -> SchedulePost:
    return SchedulePost.model_validate(
        {
            "owner": "o",
            "account_id": str(uuid.uuid4()),
            "due_at": "2030-01-01T00:00:00Z",
            "content": {"text": "hello"},
        }
    )


def test_rows_go_in_one_stream_under_the_batchs_key(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    gateway.tells = [ACCEPTED]
    told = producer.submit("f", [*ROWS[:2], b'{"answers":\n{"q":"a2"}}'], batch_id="s")
    assert (told.batch_ids, told.rows) == (("s-0001",), 3)
    (asked,) = gateway.asked
    assert (asked.method, asked.path) == ("POST", "/v1/forms/f/submissions")
    assert [json.loads(line) for line in asked.body.splitlines()] == ROWS
    assert asked.headers["Idempotency-Key"] == '"s"'
    assert asked.headers["Authorization"] == "Bearer pk_test_secret"
    assert asked.headers["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize(
    "trouble",
    [
        LOST,
        problem(503, "QUEUE_UNAVAILABLE", Retry_After="0"),
        problem(503, "STORAGE_UNAVAILABLE", Retry_After="0"),
        problem(409, "REQUEST_IN_FLIGHT", Retry_After="0"),
        Told(502),
        Told(504, "a proxy's page"),
    ],
    ids=["lost", "redis away", "postgresql away", "in flight", "bad gateway", "gateway time-out"],
)
def test_what_passes_is_tried_again_with_the_same_key_and_rows(
    gateway: ScriptedGateway, producer: HttpProducer, trouble: Told
) -> None:
    gateway.tells = [trouble, ACCEPTED]
    assert producer.submit("f", ROWS, batch_id="s").rows == 3
    first, second = gateway.asked
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_rows_that_are_spent_are_not_sent_in_part(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    gateway.tells = [LOST, ACCEPTED]
    with pytest.raises(UnavailableError) as caught:
        producer.submit("f", iter(ROWS), batch_id="s")
    assert caught.value.code is Code.REQUEST_UNANSWERED
    assert len(gateway.asked) == 1
    assert producer.submit("f", iter(ROWS), batch_id="s").rows == 3


def test_without_a_gateway_it_gives_up_in_time(gateway: ScriptedGateway) -> None:
    with HttpProducer("http://127.0.0.1:9", retry_for=timedelta(0)) as producer, pytest.raises(UnavailableError) as no:
        producer.ping()
    assert no.value.code is Code.REQUEST_UNANSWERED


def test_what_is_refused_is_refused_once_with_all_that_was_told(
    gateway: ScriptedGateway, producer: HttpProducer
) -> None:
    refusal = problem(422, "SUBMISSION_INVALID")
    gateway.tells = [Told(422, refusal.body | {"accepted": {"rows": 1_000}, "details": {"line": 7}})]
    with pytest.raises(InvalidInputError) as caught:
        producer.submit("f", ROWS, batch_id="s")
    assert (caught.value.code, caught.value.message, caught.value.remedy) == (
        Code.SUBMISSION_INVALID, "told SUBMISSION_INVALID", "wait",
    )  # fmt: skip
    assert caught.value.details["accepted"] == {"rows": 1_000}
    assert caught.value.details["line"] == 7
    assert len(gateway.asked) == 1


@pytest.mark.parametrize("code", ["QUEUE_FULL", "QUEUE_OUT_OF_MEMORY", "RATE_LIMIT_EXCEEDED", "REQUEST_OVERLOADED"])
def test_a_submit_waits_for_room_as_long_as_it_is_told_to(
    gateway: ScriptedGateway, producer: HttpProducer, code: str
) -> None:
    status = 429 if code == "RATE_LIMIT_EXCEEDED" else 503
    gateway.tells = [problem(status, code, Retry_After="1"), ACCEPTED]
    pauses: list[timedelta] = []
    patience = Patience(on_wait=lambda waiting: pauses.append(waiting.pause))
    assert producer.submit("f", ROWS, batch_id="s", options=SubmitOptions(on_full=patience)).rows == 3
    assert [0.8 <= pause.total_seconds() <= 1.2 for pause in pauses] == [True]


def test_or_raises_at_once(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    gateway.tells = [problem(503, "QUEUE_FULL", Retry_After="120"), ACCEPTED]
    with pytest.raises(UnavailableError) as caught:
        producer.submit("f", ROWS, batch_id="s", options=SubmitOptions(on_full="raise"))
    assert caught.value.retry_after == timedelta(minutes=2)
    assert len(gateway.asked) == 1


def test_a_row_that_cannot_be_sent_is_named(gateway: ScriptedGateway) -> None:
    gateway.tells = [ACCEPTED]
    with HttpProducer(gateway.url, limits=Limits(row_bytes=50)) as producer, pytest.raises(InvalidInputError) as caught:
        producer.submit("f", [ROWS[0], {"answers": {"q": "x" * 50}}], batch_id="s")
    assert (caught.value.code, caught.value.details) == (Code.SUBMISSION_TOO_LARGE, {"row": 1})


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda one: one.submit("a b", ROWS, batch_id="s"), Code.FORM_ID_INVALID),
        (lambda one: one.submit("f", ROWS, batch_id="a/b"), Code.BATCH_ID_INVALID),
        (lambda one: one.submit("f", ROWS, batch_id="s", options=SubmitOptions(batch_size=9)), Code.REQUEST_USAGE),
    ],
)
def test_what_is_wrong_is_never_sent(
    gateway: ScriptedGateway, producer: HttpProducer, call: Callable[[HttpProducer], object], code: Code
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call(producer)
    assert caught.value.code is code
    assert gateway.asked == []


def test_a_post_keeps_the_key_that_was_made_up_for_it(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    post_id = uuid.uuid4()
    told = {"post_id": str(post_id), "idempotency_key": "k"}
    gateway.tells = [LOST, Told(202, told, {"Idempotency-Replayed": "true"})]
    accepted = producer.schedule_post(post())
    assert (accepted.post_id, accepted.idempotency_key, accepted.known) == (post_id, "k", True)
    first, second = (asked.headers["Idempotency-Key"] for asked in gateway.asked)
    assert first == second
    assert first.startswith('"post-')


@pytest.mark.parametrize("trouble", [LOST, problem(503, "STORAGE_UNAVAILABLE", Retry_After="0")])
def test_what_may_have_been_done_and_may_not_be_done_twice_is_not_sent_again(
    gateway: ScriptedGateway, producer: HttpProducer, trouble: Told
) -> None:
    gateway.tells = [trouble, Told(200, {})]
    with pytest.raises(UnavailableError):
        producer.reschedule_post(uuid.uuid4(), datetime(2030, 1, 1, tzinfo=UTC))
    assert len(gateway.asked) == 1


def test_pages_are_followed_to_the_end(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    row = {"batch_id": "s-0001", "position": 4, "content": {"answers": {}}, "faults": [{"code": "ANSWER_REQUIRED"}]}
    gateway.tells = [
        Told(200, {"items": [row], "next": "s-0001/4"}),
        Told(200, {"items": [row | {"position": 9}], "next": None}),
    ]
    assert [found.position for found in producer.rejections("s")] == [4, 9]
    assert "cursor=s-0001%2F4" in gateway.asked[1].path


def test_what_is_not_there_is_none_and_a_wrong_address_is_told(
    gateway: ScriptedGateway, producer: HttpProducer
) -> None:
    gateway.tells = [problem(404, "BATCH_NOT_FOUND")]
    assert producer.batch("s") is None
    gateway.tells = [problem(404, "REQUEST_NOT_FOUND")]
    with pytest.raises(NotFoundError):
        producer.batch("s")


def test_a_job_is_as_the_other_producer_tells_it(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    job_id = uuid.uuid4()
    told = {"job_id": str(job_id), "queue": "submissions", "kind": "k.k", "tenant": "acme", "state": "running"}
    gateway.tells = [Told(200, told | {"since": "2026-11-21T09:00:00+00:00", "code": None, "message": None})]
    record = producer.job(job_id)
    assert record is not None
    assert (record.state, record.changed_at) == (JobState.LEASED, datetime(2026, 11, 21, 9, tzinfo=UTC))


def test_the_trace_goes_with_the_request(gateway: ScriptedGateway, producer: HttpProducer) -> None:
    gateway.tells = [Told(200, {})]
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    with traced(trace, "request-7"):
        producer.ping()
    assert gateway.asked[0].headers["traceparent"] == trace
    assert gateway.asked[0].headers["X-Request-Id"] == "request-7"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, InvalidInputError, Code.REQUEST_INVALID),
        (401, PenstockError, Code.REQUEST_INVALID),
        (404, NotFoundError, Code.REQUEST_INVALID),
        (409, ConflictError, Code.REQUEST_INVALID),
        (429, UnavailableError, Code.RATE_LIMIT_EXCEEDED),
        (500, PenstockError, Code.INTERNAL_ERROR),
        (503, UnavailableError, Code.REQUEST_UNANSWERED),
    ],
)
@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"code": "OF_A_LATER_RELEASE"}'])
def test_an_answer_that_is_no_problem_of_ours_goes_by_its_status(
    status: int, kind: type[PenstockError], code: Code, text: bytes
) -> None:
    error = error_of(status, text, {})
    assert (type(error), error.code) == (kind, code)


def test_retry_after_may_be_a_date() -> None:
    when = datetime.now(UTC) + timedelta(seconds=90)
    error = error_of(503, b"", {"retry-after": format_datetime(when, usegmt=True)})
    assert isinstance(error, UnavailableError)
    assert timedelta(seconds=60) < (error.retry_after or timedelta()) <= timedelta(seconds=90)
    nonsense = error_of(503, b"", {"retry-after": "soon"})
    assert isinstance(nonsense, UnavailableError)
    assert nonsense.retry_after is None


@pytest.mark.parametrize("url", ["", "gateway:8080", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        HttpProducer(url)
    assert caught.value.code is Code.CONFIG_INVALID


def test_all_producers_have_the_calls_that_they_share(gateway: ScriptedGateway) -> None:
    made: list[WorkProducer] = [RecordingProducer(), HttpProducer(gateway.url), Producer("redis://127.0.0.1:9")]
    for producer in made:
        producer.close()
    for name in ("submit", "job", "jobs", "ping", "close"):
        twins = [inspect.signature(getattr(kind, name)) for kind in (WorkProducer, Producer, HttpProducer)]
        assert len({str(list(twin.parameters.values())) for twin in twins}) == 1


def test_the_asynchronous_one_has_every_call_of_the_synchronous_one() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(AsyncHttpProducer) == public(HttpProducer)


async def asynchronous(rows: list[Any]) -> AsyncIterator[Any]:
    for row in rows:
        await asyncio.sleep(0)
        yield row


def test_awaited_it_is_the_same(gateway: ScriptedGateway) -> None:
    async def run() -> None:
        async with AsyncHttpProducer(gateway.url) as producer:
            gateway.tells = [LOST, ACCEPTED]
            assert (await producer.submit("f", ROWS, batch_id="s")).rows == 3
            assert (await producer.submit("f", asynchronous(ROWS), batch_id="s")).rows == 3
            gateway.tells = [LOST]
            for spent in (asynchronous(ROWS), iter(ROWS)):
                before = len(gateway.asked)
                with pytest.raises(UnavailableError):
                    await producer.submit("f", spent, batch_id="s")
                assert len(gateway.asked) == before + 1
            gateway.tells = [Told(200, {"items": [], "next": None})]
            assert [found async for found in producer.rejections("s")] == []

    asyncio.run(run())
    assert len({asked.body for asked in gateway.asked[:3]}) == 1
