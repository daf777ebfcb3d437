"""A payload as the job that goes into a queue: in its envelope, compressed where that pays."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from penstock.producers.queue.compression import compress
from penstock.producers.queue.enqueueing import NewJob
from penstock.producers.tracing import NO_CAUSE, Cause
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope
from penstock.schemas.job import EncodedPayload


def encode_job(
    payload: EncodedPayload,
    job_id: UUID,
    tenant: str,
    enqueued_at: datetime,
    *,
    keep: timedelta,
    due: datetime | timedelta | None = None,
    cause: Cause = NO_CAUSE,
) -> NewJob:
    """Make the job of a payload."""
    wire, encoding = compress(payload.body)
    header = EnvelopeHeader(
        id=job_id,
        kind=payload.kind,
        queue=payload.queue,
        tenant=tenant,
        enqueued_at=enqueued_at.astimezone(UTC),
        payload_version=payload.payload_version,
        encoding=encoding,
        idempotency_key=payload.idempotency_key,
        trace=cause.trace,
        request_id=cause.request_id,
        follows=cause.follows,
    )
    return NewJob(
        job_id=job_id,
        kind=payload.kind,
        tenant=tenant,
        message=encode_envelope(header, wire),
        digest=content_digest(payload.body),
        keep=keep,
        due=due,
        urgent=payload.urgent,
    )


def content_digest(body: bytes) -> str:
    """What tells a resend from a conflict: the first 16 bytes of SHA-256 of the payload before compression, as hex."""
    return hashlib.sha256(body).hexdigest()[:32]
