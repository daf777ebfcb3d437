"""A payload as the job that goes into a queue: in its envelope, compressed where that pays."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID

from penstock.producers.queue.compression import compress
from penstock.producers.queue.enqueueing import NewJob
from penstock.producers.tracing import NO_CAUSE, Cause
from penstock.schemas.envelope import EnvelopeHeader
from penstock.schemas.job import EncodedPayload

#: What stands in a header line for what each job has of its own.
_ID = UUID(int=0)
_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = "."


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
    return JobEncoder(tenant, enqueued_at, cause).encode(payload, payload.idempotency_key, job_id, keep, due)


class JobEncoder:
    """Makes the jobs of one call, which have most of their header lines in common.

    Args:
        tenant: whose jobs these are.
        enqueued_at: when they are enqueued (aware).
        cause: what for.
    """

    def __init__(self, tenant: str, enqueued_at: datetime, cause: Cause) -> None:
        self._tenant = tenant
        self._instant = enqueued_at.astimezone(UTC).isoformat().removesuffix("+00:00").encode() + b"Z"
        self._links = (cause.trace, cause.request_id, cause.follows)
        self._about: tuple[object, ...] = ()
        self._head = self._middle = self._rest = b""

    def encode(
        self, payload: EncodedPayload, key: str | None, job_id: UUID, keep: timedelta, due: datetime | timedelta | None
    ) -> NewJob:
        """Make the job of a payload whose idempotency key is `key`."""
        wire, encoding = compress(payload.body)
        usual_key = None if key is None else _usual(key)
        about = (payload.kind, payload.queue, payload.payload_version, encoding, usual_key)
        if about != self._about:
            before, between, after, self._rest = _frame(*about, self._tenant, self._links)
            self._head, self._middle = before, between + self._instant + after
            self._about = about
        id_text = str(job_id)
        told_key = b"" if key is None else json.dumps(key, ensure_ascii=False).encode()
        message = b"".join((self._head, id_text.encode(), self._middle, told_key, self._rest, wire))
        digest = content_digest(payload.body)
        return NewJob(job_id, payload.kind, self._tenant, message, digest, keep, due, payload.urgent, None, id_text)


def _usual(key: str) -> str:
    """What stands for an idempotency key in a frame; a key that a header might refuse stands for itself."""
    return _KEY if key.isascii() and len(key) <= 200 else key


@lru_cache(maxsize=1_000)
def _frame(
    kind: str,
    queue: str,
    payload_version: int,
    encoding: Literal["zstd"] | None,
    key: str | None,
    tenant: str,
    links: tuple[str | None, str | None, str | None],
) -> tuple[bytes, bytes, bytes, bytes]:
    """A header line around its id, its instant and its idempotency key, and the newline with it.

    Jobs that are enqueued together, or after each other, differ in little else, and the schema takes several times as
    long as all the rest of the enqueueing of a job. Whatever it would refuse is refused here.
    """
    trace, request_id, follows = links
    header = EnvelopeHeader(
        id=_ID,
        kind=kind,
        queue=queue,
        tenant=tenant,
        enqueued_at=_INSTANT,
        payload_version=payload_version,
        encoding=encoding,
        idempotency_key=key,
        trace=trace,
        request_id=request_id,
        follows=follows,
    )
    # Within a text of the line each quotation mark has a backslash before it, so none of these is found in one.
    before, _, line = header.model_dump_json(exclude_none=True).encode().partition(str(_ID).encode())
    between, mark, line = line.partition(b'"enqueued_at":"')
    after = line.partition(b'"')[2]
    if key is None:
        return before, between + mark, b'"' + after, b"\n"
    after, key_mark, line = after.partition(b'"idempotency_key":')
    told = json.dumps(key, ensure_ascii=False).encode()
    return before, between + mark, b'"' + after + key_mark, line.removeprefix(told) + b"\n"


def content_digest(body: bytes) -> str:
    """What tells a resend from a conflict: the first 16 bytes of SHA-256 of the payload before compression, as hex."""
    return hashlib.sha256(body).hexdigest()[:32]
