"""A dead letter as the queue left it: everything that Redis knows of a job that died, ready for the archive."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class LetterRecord:
    """One death of one job. What follows from these facts (fingerprint, subjects, projection) is the store's to derive.

    Texts may hold any character, NUL and lone surrogates among them, where a job was not one of ours.

    Attributes:
        dead_id: of this death; a job that dies again has another one.
        job_id: of the job; derived where the queue's id is no UUID.
        code: a stable code, or what another release called one.
        message: what happened, in words of ours; never another library's, which may quote answers.
        error: module and class of the exception; None where no attempt raised one.
        attempts: failed ones that count.
        recoveries, crashes: leases that were lost with a worker, and those of them where the job was running.
        payload_version: as the header says; 1 where it can't be read.
        idempotency_key: as the header says; None where it has none, as of jobs that earlier releases enqueued.
        enqueued_at: by the producer's clock where the header can be read, else when Redis had it.
        died_at: by Redis's clock, in whole milliseconds.
        worker: who had it last, as `host pid boot`, as far as it is known; empty where nobody had it.
        release: that the worker ran; empty where none ran it.
        trace_id: 32 hexadecimal digits.
        trace: the `traceparent` that they are of.
        history: every attempt, oldest first; each an object with `outcome` and mostly `at` (RFC 3339). One that an
            exception ended has `error`, `traceback` (frames as `file:line in function`, outermost first), `own` (the
            places in it of frames that no library has) and maybe `causes` (the errors that led to it).
        message_bytes: length of the whole message.
        body: the payload as it was sent, still compressed where `encoding` says so; empty where `raw` is set.
        header_ok: the envelope could be read.
        raw: the whole message where it could not.
        sentry: the id under which the death was told to Sentry.
    """

    dead_id: UUID
    job_id: UUID
    queue: str
    kind: str
    tenant: str
    code: str
    message: str
    error: str | None
    attempts: int
    recoveries: int
    crashes: int
    postpones: int
    payload_version: int
    idempotency_key: str | None
    enqueued_at: datetime
    died_at: datetime
    worker: str
    release: str
    trace_id: str | None
    history: list[dict[str, Any]]
    message_bytes: int
    body: bytes = field(repr=False)
    encoding: str | None
    header_ok: bool
    raw: bytes | None = field(repr=False)
    sentry: str | None = None
    trace: str | None = None
