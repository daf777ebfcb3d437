"""The message on the wire: envelope, compression, and what a broken one does."""

import json
import uuid
from datetime import UTC, datetime

import pytest
import zstandard

from penstock.producers.queue.compression import COMPRESS_FROM_BYTES, compress, decompress
from penstock.producers.queue.message import EnvelopeEncoder, build_message
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def payload(body: bytes) -> EncodedPayload:
    return EncodedPayload("submission_batch.write", Queue.SUBMISSIONS, 1, body, "b")


def test_a_small_message_is_two_lines_of_json() -> None:
    identity = uuid.uuid4()
    header, body = build_message(payload(b'{"a":1}'), identity, "acme", NOW).encode().split(b"\n")
    told = json.loads(header)
    assert json.loads(body) == {"a": 1}
    assert (told["v"], told["id"], told["kind"], told["tenant"]) == (1, str(identity), "submission_batch.write", "acme")


def test_a_message_survives_dramatiqs_round_trip_with_its_state() -> None:
    message = build_message(payload(b"x\ny" * 9_000), uuid.uuid4(), "acme", NOW).copy(options={"retries": 2})
    fields = EnvelopeEncoder().decode(message.encode())
    assert fields["message_id"] == message.message_id
    assert fields["options"]["retries"] == 2
    assert fields["message_timestamp"] == message.message_timestamp
    assert bytes(fields["args"][0]) == bytes(message.args[0])
    assert decompress(bytes(fields["args"][0]), fields["options"]["encoding"], 10**6) == b"x\ny" * 9_000


def test_a_message_of_another_producer_is_named_by_its_job() -> None:
    """Such a producer knows nothing of dramatiq's notes; what dramatiq noted itself stays."""
    foreign = build_message(payload(b"{}"), uuid.uuid4(), "acme", NOW)
    assert EnvelopeEncoder().decode(foreign.encode())["options"]["redis_message_id"] == foreign.message_id
    noted = foreign.copy(options={"redis_message_id": "noted"})
    assert EnvelopeEncoder().decode(noted.encode())["options"]["redis_message_id"] == "noted"


def test_the_text_of_an_exception_does_not_travel_in_the_header() -> None:
    message = build_message(payload(b"{}"), uuid.uuid4(), "acme", NOW).copy(options={"traceback": "hunter2"})
    assert b"hunter2" not in message.encode()


def test_no_log_line_of_a_message_shows_its_payload() -> None:
    message = build_message(payload(b'{"answer":"hunter2"}'), uuid.uuid4(), "acme", NOW)
    assert "hunter2" not in f"{message} {message!r}"


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
