"""Header lines are put together from parts, and are what the schema writes, byte for byte."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from penstock.producers.queue.message import encode_job
from penstock.producers.tracing import NO_CAUSE, Cause
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope
from penstock.schemas.job import EncodedPayload

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NIL = "00000000-0000-0000-0000-000000000000"
AT = datetime(2026, 11, 21, 8, 0, 0, 120_000, tzinfo=UTC)
BODY = b'{"a":1}'


def written(
    job_id: UUID,
    *,
    kind: str = "chore.do",
    tenant: str = "acme",
    at: datetime = AT,
    key: str | None = None,
    cause: Cause = NO_CAUSE,
) -> bytes:
    payload = EncodedPayload(kind, "posts", 2, BODY, key)  # type: ignore[arg-type]
    return encode_job(payload, job_id, tenant, at, keep=timedelta(hours=1), cause=cause).message


def expected(
    job_id: UUID,
    *,
    kind: str = "chore.do",
    tenant: str = "acme",
    at: datetime = AT,
    key: str | None = None,
    cause: Cause = NO_CAUSE,
) -> bytes:
    header = EnvelopeHeader(
        id=job_id,
        kind=kind,
        queue="posts",
        tenant=tenant,
        enqueued_at=at.astimezone(UTC),
        payload_version=2,
        idempotency_key=key,
        trace=cause.trace,
        request_id=cause.request_id,
        follows=cause.follows,
    )
    return encode_envelope(header, BODY)


KEYS = [
    None,
    "",
    ".",
    "b-0001",
    'a"b\\c',
    "\n\t\x01\x7f",
    "ü\u2028",
    NIL,
    '"idempotency_key":"x"',
    "k" * 200,
    "é" * 200,
]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
@pytest.mark.parametrize("kind", ["chore.do", NIL, '"enqueued_at":"1970', '"idempotency_key":', "ü"])
def test_a_line_is_what_the_schema_writes(kind: str, key: str | None) -> None:
    for cause in (NO_CAUSE, Cause(TRACE, "request-1"), Cause(follows=TRACE), Cause("rubbish", '"')):
        job_id = uuid4()
        assert written(job_id, kind=kind, key=key, cause=cause) == expected(job_id, kind=kind, key=key, cause=cause)


@pytest.mark.parametrize("microsecond", [0, 1, 120_000, 999_999])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=3))])
def test_an_instant_is_written_in_utc_as_the_schema_writes_it(zone: timezone, microsecond: int) -> None:
    job_id, at = uuid4(), datetime(2026, 11, 21, 8, 0, 0, microsecond, tzinfo=zone)
    assert written(job_id, at=at) == expected(job_id, at=at)


def test_each_job_has_what_is_its_own() -> None:
    first, second = uuid4(), uuid4()
    for job_id, key, at in ((first, "a", AT), (second, "b", AT + timedelta(seconds=1)), (first, "a", AT)):
        assert written(job_id, key=key, at=at) == expected(job_id, key=key, at=at)


@pytest.mark.parametrize("key", ["k" * 201, "é" * 201])
def test_a_key_that_is_too_long_is_refused_as_before(key: str) -> None:
    with pytest.raises(ValidationError, match="idempotency_key"):
        written(uuid4(), key=key)


def test_a_tenant_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="tenant"):
        written(uuid4(), tenant="a b")
