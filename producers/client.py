"""The synchronous producer."""

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from penstock.producers import batches
from penstock.producers.queue.bases import BaseBatches
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.enqueueing import Enqueuer, NewJob, Offer, Offered
from penstock.producers.queue.message import encode_job
from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.producers.settings import ProducerSettings
from penstock.producers.tracing import Cause, current_cause
from penstock.schemas.errors import Code, ConflictError, InvalidInputError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload, Payload
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, require_name


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What a producer is told of a job that Redis has.

    Attributes:
        known: the same job was enqueued before, and nothing was added.
        state: where the job stands now.
        durability: `redis`: the job is as safe as Redis's own persistence (and replication, where replicas are asked
            to confirm) makes it.
    """

    job_id: uuid.UUID
    kind: str
    queue: str
    known: bool = False
    state: JobState = JobState.READY
    durability: str = "redis"


@dataclass(frozen=True, slots=True)
class Windows:
    """How long a job is known after it is done: with an idempotency key, and without one."""

    keyed: timedelta = timedelta(days=7)
    unkeyed: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have a job before its producer is told that it is enqueued, and the wait for them."""

    acks: int = 0
    wait: timedelta = timedelta(milliseconds=500)


class Producer:
    """Hands jobs to Penstock. Safe to share between threads; close it, or use it as a context manager.

    Args:
        redis_url: where the queues are.
        tenant: whose jobs these are.
        namespace: prefix of every Redis key; the workers' `PENSTOCK_NAMESPACE`.
        limits: size limits, checked before anything is sent.
        windows: how long finished jobs are known.
        replicas: what must confirm a job.
        clock: tells the instant that jobs are stamped with.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        tenant: str = DEFAULT_TENANT,
        namespace: str = "penstock",
        limits: Limits | None = None,
        windows: Windows | None = None,
        replicas: Replicas | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.tenant = require_name(tenant, Code.REQUEST_TENANT_INVALID, "a tenant")
        self.limits = limits or Limits()
        self._clock = clock
        self._client = connect(redis_url)
        confirming = replicas or Replicas()
        self._windows = windows or Windows()
        self._queue = Enqueuer(self._client, namespace, replica_acks=confirming.acks, replica_ack_wait=confirming.wait)
        self._records = JobRecords(self._client, namespace)
        self._bases = BaseBatches(self._client, namespace)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Make a producer from `REDIS_URL`, `PENSTOCK_NAMESPACE`, `PENSTOCK_TENANT` and the limits' settings.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, naming every setting at fault.
        """
        settings = ProducerSettings.from_environment(environ)
        return cls(
            settings.redis_url,
            tenant=settings.tenant,
            namespace=settings.namespace,
            limits=settings.limits,
            windows=Windows(
                timedelta(seconds=settings.idempotency_seconds), timedelta(seconds=settings.record_seconds)
            ),
            replicas=Replicas(settings.replica_acks, timedelta(seconds=settings.replica_ack_seconds)),
        )

    def enqueue(
        self,
        job: Payload | EncodedPayload,
        *,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
    ) -> Enqueued:
        """Enqueue one job; when this returns, Redis has it.

        Args:
            job: a payload, or one that was encoded before.
            delay: from when Redis has it until it is ready.
            idempotency_key: the same key gives the same job; the payload's own key (a batch has its id) unless given.
                A job that is known already adds nothing, as long as it has not ended and for a week after.
            revive: states (DEAD, DONE) in which the known job is to run again.
            trace: W3C `traceparent` of what the job is for; that of `traced`, or of OpenTelemetry's current span,
                unless given.

        Raises:
            InvalidInputError: where the payload is over a limit; nothing was sent.
            ConflictError: `JOB_CONFLICT` (`BATCH_CONFLICT` for a batch) where the key is known with another payload.
            PenstockError: of the `QUEUE_` family: send it again.
        """
        (told,) = self._enqueue([self._encode(job)], [idempotency_key], [delay], revive, current_cause(trace))
        return told

    def enqueue_many(
        self,
        jobs: Iterable[Payload | EncodedPayload],
        *,
        idempotency_keys: Sequence[str | None] | None = None,
        spread: timedelta | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
    ) -> list[Enqueued]:
        """Enqueue several jobs, in order, a thousand to a round trip. All are checked before the first is sent.

        Args:
            jobs: payloads, or ones that were encoded before.
            idempotency_keys: one for each job, as `enqueue` takes it.
            spread: make them ready evenly over this time rather than all at once.
            revive: as `enqueue`.
            trace: as `enqueue`.

        Raises:
            As `enqueue`; a `QUEUE_` error in the middle leaves the first ones enqueued: send all again. A conflict
                names the first job that has one in `details["conflicts"]`; all that have none are enqueued.
        """
        payloads = [self._encode(job) for job in jobs]
        keys = list(idempotency_keys) if idempotency_keys is not None else [None] * len(payloads)
        if len(keys) != len(payloads):
            raise InvalidInputError(Code.REQUEST_USAGE, f"{len(keys)} idempotency keys for {len(payloads)} jobs")
        delays: list[timedelta | datetime | None] = [None] * len(payloads)
        if spread:
            delays = [spread * place / len(payloads) for place in range(len(payloads))]
        return self._enqueue(payloads, keys, delays, revive, current_cause(trace))

    def enqueue_at(
        self,
        job: Payload | EncodedPayload,
        when: datetime,
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> Enqueued:
        """Enqueue a job that becomes ready at `when` (aware, by Redis's clock); at once where that has passed.

        Raises:
            InvalidInputError: where `when` has no offset; and as `enqueue`.
        """
        if when.tzinfo is None:
            raise InvalidInputError(Code.REQUEST_USAGE, "enqueue_at wants an aware datetime: give it a time zone")
        (told,) = self._enqueue([self._encode(job)], [idempotency_key], [when], (), current_cause(trace))
        return told

    def _encode(self, job: Payload | EncodedPayload) -> EncodedPayload:
        return job if isinstance(job, EncodedPayload) else job.encode(self.limits)

    def _enqueue(
        self,
        payloads: Sequence[EncodedPayload],
        keys: Sequence[str | None],
        dues: Sequence[timedelta | datetime | None],
        revive: Collection[JobState],
        cause: Cause,
    ) -> list[Enqueued]:
        now = self._clock()
        jobs = [self._job(*parts, now, cause) for parts in zip(payloads, keys, dues, strict=True)]
        places: dict[str, list[int]] = {}
        for place, payload in enumerate(payloads):
            places.setdefault(payload.queue, []).append(place)
        told: dict[int, Offered] = {}
        for queue, there in places.items():
            answers = self._queue.enqueue(queue, [jobs[place] for place in there], revive=revive)
            told |= zip(there, answers, strict=True)
        _require_no_conflict(payloads, [told[place] for place in range(len(payloads))])
        return [
            Enqueued(
                told[place].job_id, payload.kind, payload.queue, told[place].offer is Offer.KNOWN, told[place].state
            )
            for place, payload in enumerate(payloads)
        ]

    def _job(
        self,
        payload: EncodedPayload,
        given_key: str | None,
        due: timedelta | datetime | None,
        now: datetime,
        cause: Cause,
    ) -> NewJob:
        key = given_key if given_key is not None else payload.idempotency_key
        identity = uuid.uuid4() if key is None else job_id(self.tenant, payload.kind, key)
        keep = self._windows.unkeyed if key is None else self._windows.keyed
        keyed = payload if given_key is None else replace(payload, idempotency_key=key)
        return encode_job(keyed, identity, self.tenant, now, keep=keep, due=due, cause=cause)

    def submit(
        self,
        form_id: str,
        rows: Iterable[batches.Row],
        *,
        batch_id: str,
        options: batches.SubmitOptions | None = None,
        on_progress: Callable[[batches.Progress], None] | None = None,
    ) -> batches.Submitted:
        """Cut rows of any number into batches and enqueue them, a few at a time, in bounded memory.

        The same rows with the same `batch_id` and batch size are the same work, however often they are sent.

        Args:
            form_id: the form that the rows answer.
            rows: submissions, mappings `{"id"?, "submitted_at"?, "answers"}`, or such rows as JSON bytes.
            batch_id: names the whole; its batches are `ID-0001`, `ID-0002` and so on.
            options: batch size, concurrency, pause, form version.
            on_progress: called in this thread after each batch that Redis has acknowledged.

        Raises:
            InvalidInputError: naming the row that can't be sent; the batches before it may have been sent.
            ConflictError: `BATCH_CONFLICT` where `batch_id` was sent to another form or in another batch size.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`: run the same call again.
        """
        chosen = options or batches.SubmitOptions()
        cut = batches.cut(form_id, rows, batch_id, chosen, self.limits)
        self.claim_base(batch_id, form_id, batches.batch_size_of(chosen, self.limits))

        # Batches are sent by threads, which have contexts of their own.
        cause = current_cause()

        def enqueue(payload: EncodedPayload) -> Enqueued:
            # Whoever submits again wants it done, so a batch that is a dead letter gets a new life.
            (told,) = self._enqueue([payload], [None], [None], (JobState.DEAD,), cause)
            return told

        return batches.send(cut, enqueue, chosen, on_progress)

    def claim_base(self, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """Note how a file is cut, before anything of it is sent.

        The note lasts a week after it was last asked for; the ledger guards the same for ever.

        Raises:
            ConflictError: `BATCH_CONFLICT` where the same base batch was sent to another form or cut otherwise.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        self._bases.claim(self.tenant, base_batch_id, form_id, batch_size)

    def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """Where a job stands; None where no job of that id is known (any more).

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return self._records.read([job_id]).get(job_id)

    def jobs(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """Where several jobs stand, in one round trip; unknown ones are left out.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return self._records.read(job_ids)

    def ping(self) -> None:
        """Ask Redis whether it is there.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("asking whether it is there"):
            self._client.ping()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _require_no_conflict(payloads: Sequence[EncodedPayload], told: Sequence[Offered]) -> None:
    conflicts = [place for place, offered in enumerate(told) if offered.offer is Offer.CONFLICT]
    if not conflicts:
        return
    first = payloads[conflicts[0]]
    what = f"{first.idempotency_key!r}" if first.idempotency_key else f"the job {told[conflicts[0]].job_id}"
    others = f" ({len(conflicts)} of the jobs are in conflict)" if len(conflicts) > 1 else ""
    raise ConflictError(
        first.conflict_code,
        f"{what} is known with other content{others}",
        details={"conflicts": [str(told[place].job_id) for place in conflicts]},
    )
