"""Rows cut into batches: names, positions, limits, bounded memory, bounded concurrency."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.producers.batches import Progress, Row, SubmitOptions, cut, send
from penstock.schemas.errors import Code, InvalidInputError, UnavailableError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.submission_batch import Submission, WriteSubmissionBatch

LIMITS = Limits(batch_size=3, row_bytes=200, message_bytes=1_000)


def rows(count: int) -> Iterator[Row]:
    return ({"answers": {"n": number}} for number in range(count))


def bodies(*given: Row, options: SubmitOptions | None = None) -> list[dict[str, Any]]:
    batches = cut("f", given, "b", options or SubmitOptions(), LIMITS)
    return [json.loads(batch.payload.body) for batch in batches]


def test_a_stream_becomes_numbered_parts_that_know_their_place() -> None:
    made = bodies(*rows(7))
    assert [body["batch_id"] for body in made] == ["b-0001", "b-0002", "b-0003"]
    assert [body["first_position"] for body in made] == [0, 3, 6]
    assert [len(body["submissions"]) for body in made] == [3, 3, 1]
    assert {(body["base_batch_id"], body["batch_size"]) for body in made} == {("b", 3)}


def test_the_payload_is_what_the_schema_says() -> None:
    (made,) = bodies(Submission(id="x", submitted_at="2026-01-01T00:00:00Z", answers={"q": "é"}))
    assert WriteSubmissionBatch.model_validate(made).submissions[0].answers == {"q": "é"}


def test_a_batch_is_encoded_alike_whether_cut_or_built() -> None:
    built = WriteSubmissionBatch(
        form_id="f", batch_id="b-0001", base_batch_id="b", batch_size=3, submissions=(Submission(answers={"n": 0}),)
    )
    assert json.loads(built.encode(LIMITS).body) == bodies(*rows(1))[0]


def test_only_one_batch_is_held_at_a_time() -> None:
    taken = 0

    def source() -> Iterator[Row]:
        nonlocal taken
        for row in rows(9):
            taken += 1
            yield row

    batches = cut("f", source(), "b", SubmitOptions(), LIMITS)
    next(batches)
    assert taken == 3


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(date(2026, 1, 2), "2026-01-02", id="date"),
        pytest.param(datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00", id="datetime"),
        pytest.param(Decimal("1.10"), "1.10", id="a decimal keeps its digits"),
    ],
)
def test_common_python_values_are_written_as_text(value: object, written: str) -> None:
    assert bodies({"answers": {"q": value}})[0]["submissions"][0]["answers"] == {"q": written}


def test_an_unpaired_surrogate_reaches_the_worker_as_it_was_sent() -> None:
    assert bodies({"answers": {"q": "\ud800"}})[0]["submissions"][0]["answers"] == {"q": "\ud800"}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param({"answers": {"q": float("nan")}}, Code.SUBMISSION_INVALID, id="NaN"),
        pytest.param({"answers": {"q": object()}}, Code.SUBMISSION_INVALID, id="no JSON value"),
        pytest.param({"answers": {"q": "x" * 300}}, Code.SUBMISSION_TOO_LARGE, id="over the row limit"),
    ],
)
def test_a_row_that_cannot_be_sent_is_named(bad: Row, code: Code) -> None:
    with pytest.raises(InvalidInputError) as caught:
        bodies(*rows(4), bad)
    assert (caught.value.code, caught.value.details["row"]) == (code, 4)


def test_a_message_over_its_limit_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(cut("f", rows(3), "b", SubmitOptions(), Limits(batch_size=3, row_bytes=200, message_bytes=100)))
    assert caught.value.code is Code.BATCH_TOO_LARGE


@pytest.mark.parametrize(
    ("size", "code"), [(4, Code.BATCH_TOO_LARGE), (0, Code.REQUEST_USAGE)], ids=["over the limit", "none"]
)
def test_a_batch_size_that_cannot_be_is_refused_before_anything_is_read(size: int, code: Code) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cut("f", rows(1), "b", SubmitOptions(batch_size=size), LIMITS)
    assert caught.value.code is code


def test_a_batch_of_one_row_too_many_names_that_row() -> None:
    submissions = tuple(Submission(answers={}) for _ in range(4))
    batch = WriteSubmissionBatch(form_id="f", batch_id="b", submissions=submissions)
    with pytest.raises(InvalidInputError) as caught:
        batch.encode(LIMITS)
    assert (caught.value.code, caught.value.details["row"]) == (Code.BATCH_TOO_LARGE, 3)


@pytest.mark.parametrize("name", ["", "a/b", "ä", "x" * 197, "a\n"])
def test_a_batch_id_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cut("f", rows(1), name, SubmitOptions(), LIMITS)
    assert caught.value.code is Code.BATCH_ID_INVALID


def test_no_more_are_in_flight_than_asked_for_and_each_is_reported() -> None:
    now, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(3, timeout=60)

    def enqueue(payload: EncodedPayload) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()  # three must be on their way at once, or this breaks
        with lock:
            now -= 1

    told: list[Progress] = []
    done = send(cut("f", rows(18), "b", SubmitOptions(), LIMITS), enqueue, SubmitOptions(in_flight=3), told.append)
    assert most == 3
    assert done.rows == 18
    assert done.batch_ids == tuple(f"b-{part:04d}" for part in range(1, 7))
    assert [progress.batches for progress in told] == [1, 2, 3, 4, 5, 6]


def test_a_failure_says_how_many_batches_were_sent() -> None:
    def enqueue(payload: EncodedPayload) -> None:
        if payload.idempotency_key == "b-0003":
            raise UnavailableError(Code.QUEUE_UNAVAILABLE, "gone")

    with pytest.raises(UnavailableError) as caught:
        send(cut("f", rows(9), "b", SubmitOptions(), LIMITS), enqueue, SubmitOptions(in_flight=1), None)
    assert caught.value.details["batches_sent"] == 2
