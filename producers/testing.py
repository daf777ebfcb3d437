"""A producer for the tests of those who use Penstock: it needs no server, and remembers what would be enqueued.

```python
from penstock.producers.testing import RecordingProducer

def test_an_order_is_handed_on():
    producer = RecordingProducer(tenant="acme")
    place_order(producer, number=7)
    (job,) = producer.recorded
    assert (job.kind, job.idempotency_key) == ("submission_batch.write", "order-7")
```
"""

import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from penstock.producers.client import Producer
from penstock.producers.queue.bases import different_cut
from penstock.producers.queue.bounds import Bounds, QueueFullError, refusal_of
from penstock.producers.queue.compression import decompress
from penstock.producers.queue.enqueueing import NewJob, Offer, Offered
from penstock.producers.queue.records import JobRecord, JobState
from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import Code, InvalidInputError, PenstockError
from penstock.schemas.job import Payload, job_kinds
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, require_name

_ENDED = frozenset({JobState.DONE, JobState.DEAD})


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """A job that would be in its queue.

    Attributes:
        body: the payload as it would go on the wire, before compression.
        payload: the same as the model of its kind; None for kinds that this process does not know.
        run_at: when it becomes ready; None for at once.
        message_bytes: what it would take in Redis, compressed.
        state: where it stands; `finish` and `bury` of the producer change it.
    """

    job_id: uuid.UUID
    kind: str
    queue: str
    tenant: str
    body: bytes = field(repr=False)
    payload: Payload | None = field(repr=False)
    idempotency_key: str | None
    run_at: datetime | None
    enqueued_at: datetime
    digest: str = field(repr=False)
    message_bytes: int
    state: JobState


class RecordingProducer(Producer):
    """A `Producer` without a Redis: the same calls, answers and errors.

    Jobs stay where they were put until the test says what becomes of them (`finish`, `bury`): nothing runs, and no time
    passes. A payload of a known kind is checked by its schema, so that what a worker would bury, and rows that it would
    reject for their form, are told to the test: `JOB_PAYLOAD_INVALID`.

    Args:
        tenant: as `Producer`.
        limits: as `Producer`.
        bounds: as `Producer`; none unless given.
        clock: tells the instant that jobs are stamped with, and whether a due time has passed.
    """

    def __init__(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # A client connects at its first command, and none is ever sent.
        super().__init__("redis://recording.invalid", tenant=tenant, limits=limits, clock=clock)
        self._store = _Store(clock, bounds or Bounds(0, 0, 0, 0, 0))
        self._queue = self._store  # type: ignore[assignment]  # it has the one method that is called
        self._records = self._store  # type: ignore[assignment]  # likewise
        self._bases = self._store  # type: ignore[assignment]  # likewise

    @property
    def recorded(self) -> list[RecordedJob]:
        """Every job that would be in a queue, in the order of enqueueing; a resend adds nothing."""
        return list(self._store.jobs.values())

    def recorded_of(self, kind: str) -> list[RecordedJob]:
        """Those of one kind."""
        return [job for job in self.recorded if job.kind == kind]

    def finish(self, job_id: uuid.UUID) -> None:
        """Have a job be done. Raises KeyError where there is no such job."""
        self._store.end(job_id, JobState.DONE)

    def bury(self, job_id: uuid.UUID) -> None:
        """Have a job be dead. Raises KeyError where there is no such job."""
        self._store.end(job_id, JobState.DEAD)

    def fail(self, *errors: PenstockError) -> None:
        """Have the next calls that would ask Redis raise these, one each."""
        self._store.errors.extend(errors)

    def clear(self) -> None:
        """Forget all jobs and files."""
        self._store.forget()

    def ping(self) -> None:
        """As `Producer.ping`: there is always an answer, unless `fail` was told otherwise."""
        self._store.answer()


class _Store:
    """What the queue, the job records and the notes of files are to the real producer."""

    def __init__(self, clock: Callable[[], datetime], bounds: Bounds) -> None:
        self.jobs: dict[uuid.UUID, RecordedJob] = {}
        self.errors: list[PenstockError] = []
        self._files: dict[tuple[str, str], tuple[str, int]] = {}
        self._changed_at: dict[uuid.UUID, datetime] = {}
        self._clock = clock
        self._bounds = bounds
        # A submit sends from several threads.
        self._lock = threading.Lock()

    def answer(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    def forget(self) -> None:
        self.jobs.clear()
        self._files.clear()

    def end(self, job_id: uuid.UUID, state: JobState) -> None:
        self._put(replace(self.jobs[job_id], state=state))

    def enqueue(self, queue: str, jobs: Sequence[NewJob], *, revive: Collection[JobState] = ()) -> list[Offered]:
        """As `Enqueuer.enqueue`."""
        self.answer()
        new = [self._recorded(queue, job) for job in jobs]
        refusal: list[object] = []
        told: list[Offered | None] = []
        with self._lock:
            for job in new:
                reached = None if job.job_id in self.jobs else self._reached(queue, job.tenant)
                refusal = refusal or (reached or [])
                told.append(None if reached else self._offer(job, revive))
        if refusal:
            raise QueueFullError(refusal_of(queue, refusal), told)
        return [one for one in told if one is not None]

    def read(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """As `JobRecords.read`."""
        self.answer()
        return {job_id: self._record(self.jobs[job_id]) for job_id in job_ids if job_id in self.jobs}

    def claim(self, tenant: str, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """As `BaseBatches.claim`."""
        require_name(base_batch_id, Code.BATCH_ID_INVALID, "a batch id")
        self.answer()
        known = self._files.setdefault((tenant, base_batch_id), (form_id, batch_size))
        if known != (form_id, batch_size):
            raise different_cut(base_batch_id, known, (form_id, batch_size))

    def _offer(self, job: RecordedJob, revive: Collection[JobState]) -> Offered:
        known = self.jobs.get(job.job_id)
        if known is None:
            self._put(job)
            return Offered(job.job_id, Offer.ACCEPTED, job.state)
        if known.digest != job.digest:
            return Offered(job.job_id, Offer.CONFLICT, known.state)
        if known.state not in revive or known.state not in _ENDED:
            return Offered(job.job_id, Offer.KNOWN, known.state)
        self._put(job)
        return Offered(job.job_id, Offer.REVIVED, job.state)

    def _put(self, job: RecordedJob) -> None:
        self.jobs[job.job_id] = job
        self._changed_at[job.job_id] = self._clock()

    def _reached(self, queue: str, tenant: str) -> list[object] | None:
        """The limit that keeps a new job out, as `enqueue.lua` tells it."""
        held = [job for job in self.jobs.values() if job.queue == queue and job.state is not JobState.DONE]
        of_tenant = [job for job in held if job.tenant == tenant]
        counted = {
            b"jobs": (len(held), self._bounds.jobs),
            b"bytes": (sum(job.message_bytes for job in held), self._bounds.bytes),
            b"tenant_jobs": (len(of_tenant), self._bounds.tenant_jobs),
            b"tenant_bytes": (sum(job.message_bytes for job in of_tenant), self._bounds.tenant_bytes),
        }
        for which, (count, limit) in counted.items():
            if limit and count >= limit:
                return [which, count, limit, 5_000]
        return None

    def _recorded(self, queue: str, job: NewJob) -> RecordedJob:
        header, wire = decode_envelope(job.message)
        body = decompress(wire, header.encoding, len(job.message) + 2**28)
        now = self._clock()
        due = now + job.due if isinstance(job.due, timedelta) else job.due
        run_at = due if due is not None and due > now else None
        return RecordedJob(
            job_id=job.job_id,
            kind=job.kind,
            queue=queue,
            tenant=job.tenant,
            body=body,
            payload=_checked(header.kind, header.payload_version, body),
            idempotency_key=header.idempotency_key,
            run_at=run_at,
            enqueued_at=now,
            digest=job.digest,
            message_bytes=len(job.message),
            state=JobState.READY if run_at is None else JobState.SCHEDULED,
        )

    def _record(self, job: RecordedJob) -> JobRecord:
        return JobRecord(job.job_id, job.state, job.kind, job.tenant, job.queue, self._changed_at[job.job_id])


def _checked(kind: str, version: int, body: bytes) -> Payload | None:
    model = job_kinds().get(kind)
    if model is None or version != model.payload_version:
        return None
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            Code.JOB_PAYLOAD_INVALID, f"the payload is not of the form of {kind!r}: {where}: {first['msg']}"
        ) from None
