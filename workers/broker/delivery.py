"""What a worker thread runs at once: one leased job, or a group of one kind, in the shape of dramatiq's message."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dramatiq
import msgspec

from penstock.producers.tracing import current_cause
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope
from penstock.schemas.identity import job_id, parse_uuid
from penstock.schemas.names import DEFAULT_TENANT
from penstock.workers.broker.leases import LeasedJob, Settlement
from penstock.workers.job import Header


class OpenedJob(msgspec.Struct, frozen=True, gc=False):
    """A leased job whose envelope was read; the payload is still as it was sent."""

    leased: LeasedJob
    header: Header
    payload: bytes

    def __repr__(self) -> str:
        return f"<opened {self.leased!r}>"


@dataclass(slots=True)
class Work:
    """What a delivery carries to the actor, and how its leases are to end when the actor is through."""

    jobs: Sequence[OpenedJob]
    settlements: list[Settlement] = field(default_factory=list)

    def __repr__(self) -> str:
        # dramatiq writes a message's arguments into logs.
        return f"<{len(self.jobs)} job(s)>"


class Delivery(dramatiq.MessageProxy):
    """A delivery as dramatiq's worker threads and middleware see it."""

    def __init__(self, jobs: Sequence[OpenedJob], message: "dramatiq.Message[Any]", work: Work | None) -> None:
        super().__init__(message)
        #: What is delivered.
        self.jobs = jobs
        #: The work of a kind of ours; None for a message of a plain dramatiq actor.
        self.work = work
        #: The message that a middleware enqueued anew while this one was running, encoded: its retry; and the delay in
        #: ms.
        self.retry: tuple[bytes, int | None] | None = None
        #: When a worker thread began with it, by `time.monotonic()`; None before.
        self.began_at: float | None = None

    @property
    def running_for(self) -> timedelta:
        """How long ago a worker thread began with it; no time where none has."""
        return timedelta(0) if self.began_at is None else timedelta(seconds=time.monotonic() - self.began_at)

    @property
    def error(self) -> BaseException | None:
        """What the actor raised, as long as dramatiq keeps it."""
        return self._exception


def deliver_work(jobs: Sequence[OpenedJob]) -> Delivery:
    """Make the delivery of jobs of one kind of ours."""
    first = jobs[0]
    work = Work(jobs)
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=first.leased.queue,
        actor_name=first.header.kind,
        args=(work,),
        kwargs={},
        options={},
        message_id=first.leased.job_id,
        message_timestamp=first.leased.ready_at,
    )
    return Delivery(jobs, message, work)


def deliver_message(job: OpenedJob) -> Delivery:
    """Make the delivery of a plain dramatiq message, which is the job's payload.

    Raises:
        dramatiq.errors.DecodeError: where it can't be read.
    """
    message = dramatiq.Message.decode(job.payload)
    # Its time has come. dramatiq's worker would keep a message that names one in memory, and enqueue it anew.
    message.options.pop("eta", None)
    return Delivery([job], message, None)


def message_body(message: "dramatiq.Message[Any]", tenant: str) -> bytes:
    """A plain dramatiq message in our envelope. Encoded by dramatiq's encoder, whatever it is set to."""
    cause = current_cause()
    header = EnvelopeHeader(
        id=job_id_of(message),
        kind=message.actor_name,
        queue=message.queue_name,
        tenant=tenant,
        enqueued_at=datetime.fromtimestamp(message.message_timestamp / 1000, UTC),
        trace=cause.trace,
        request_id=cause.request_id,
    )
    return encode_envelope(header, message.encode())


def job_id_of(message: "dramatiq.Message[Any]") -> UUID:
    """The job id of a plain dramatiq message: its own id, or one derived where that is no UUID."""
    return parse_uuid(message.message_id) or job_id(DEFAULT_TENANT, message.actor_name, message.message_id)
