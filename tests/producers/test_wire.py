"""The message on the wire: envelope, compression, and what a broken one does."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
import zstandard

from penstock.producers.queue.compression import COMPRESS_FROM_BYTES, compress, decompress
from penstock.producers.queue.enqueueing import NewJob
from penstock.producers.queue.message import content_digest, encode_job
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def payload(body: bytes) -> EncodedPayload:
    return EncodedPayload("submission_batch.write", Queue.SUBMISSIONS, 1, body, "b")


def job(body: bytes) -> NewJob:
    return encode_job(payload(body), uuid.uuid4(), "acme", NOW, keep=timedelta(hours=1))


def test_a_small_message_is_two_lines_of_json() -> None:
    made = job(b'{"a":1}')
    header, body = made.message.split(b"\n")
    told = json.loads(header)
    assert json.loads(body) == {"a": 1}
    assert told == {
        "v": 1,
        "id": str(made.job_id),
        "kind": "submission_batch.write",
        "queue": "submissions",
        "tenant": "acme",
        "enqueued_at": "2026-11-21T08:30:00Z",
        "payload_version": 1,
        "idempotency_key": "b",
        "state": {},
    }


def test_a_large_payload_survives_the_wire() -> None:
    body = b"x\ny" * 9_000
    made = job(body)
    assert len(made.message) < len(body) / 10
    header, wire = decode_envelope(made.message)
    assert (header.id, header.kind, header.tenant, header.enqueued_at) == (made.job_id, made.kind, "acme", NOW)
    assert header.encoding == "zstd"
    assert decompress(wire, header.encoding, 10**6) == body


def test_the_instant_is_told_in_utc() -> None:
    berlin = NOW.astimezone(timezone(timedelta(hours=1)))
    made = encode_job(payload(b"{}"), uuid.uuid4(), "acme", berlin, keep=timedelta(hours=1))
    assert b'"enqueued_at":"2026-11-21T08:30:00Z"' in made.message


def test_the_digest_is_of_what_the_producer_sent_and_of_nothing_else() -> None:
    body = b"x" * 9_000
    assert job(body).digest == content_digest(body) == job(body).digest
    assert job(body).digest != job(body[:-1] + b"y").digest
    assert content_digest(b"{}") == "44136fa355b3678a1146ad16f7e8649e"


def test_no_log_line_of_a_job_shows_its_payload() -> None:
    made = job(b'{"answer":"hunter2"}')
    assert b"hunter2" in made.message
    assert "hunter2" not in f"{made} {made!r} {payload(b'hunter2')!r}"


@pytest.mark.parametrize("size", [0, COMPRESS_FROM_BYTES - 1, COMPRESS_FROM_BYTES, 10 * COMPRESS_FROM_BYTES])
def test_compression_gives_back_what_it_was_given(size: int) -> None:
    wire, encoding = compress(b"a" * size)
    assert (encoding == "zstd") == (size >= COMPRESS_FROM_BYTES)
    assert decompress(wire, encoding, size or 1) == b"a" * size


@pytest.mark.parametrize("declared", [True, False], ids=["size declared", "size unknown"])
def test_a_frame_that_would_grow_over_the_limit_is_refused(declared: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=declared).compress(b"\0" * 50_000_000)
    with pytest.raises(InvalidInputError) as caught:
        decompress(bomb, "zstd", 1_000_000)
    assert caught.value.code is Code.BATCH_TOO_LARGE


@pytest.mark.parametrize("broken", [b"", b"rubbish", zstandard.compress(b"a" * 5_000)[:-3]])
def test_a_broken_frame_is_refused(broken: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decompress(broken, "zstd", 10_000)
    assert caught.value.code is Code.JOB_PAYLOAD_INVALID


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no header line"),
        pytest.param(b"{}\n{}", id="empty header"),
        pytest.param(b"not json\n{}", id="no JSON"),
        pytest.param(
            b'{"v":2,"id":"0193f2a0-0000-7000-8000-000000000000","kind":"k","queue":"q",'
            b'"enqueued_at":"2026-01-01T00:00:00Z"}\n{}',
            id="a version to come",
        ),
        pytest.param(
            b'{"v":1,"id":"0193f2a0-0000-7000-8000-000000000000","kind":"k","queue":"q",'
            b'"enqueued_at":"2026-01-01T00:00:00"}\n{}',
            id="an instant without offset",
        ),
    ],
)
def test_an_unusable_envelope_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_envelope(data)
    assert caught.value.code is Code.JOB_PAYLOAD_INVALID
