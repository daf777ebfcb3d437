"""The synchronous producer."""

import copy
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from penstock.producers import batches
from penstock.producers.enqueue_spans import enqueueing
from penstock.producers.enqueued import Enqueued, Replicas, Windows, as_enqueued, require_no_conflict
from penstock.producers.offers import offer_all
from penstock.producers.patience import OnFull, Patience, patience_of, patiently
from penstock.producers.queue.bases import BaseBatches
from penstock.producers.queue.bounds import Bounds
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.message import JobEncoder
from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.producers.settings import ProducerSettings
from penstock.producers.spans import is_tracing
from penstock.producers.tracing import Cause, current_cause
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.identity import job_id, random_ids
from penstock.schemas.job import EncodedPayload, Payload
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, require_name

__all__ = ["Enqueued", "Producer", "Replicas", "Windows"]


class Producer:
    """Hands jobs to Penstock. Safe to share between threads; close it, or use it as a context manager.

    Args:
        redis_url: where the queues are.
        tenant: whose jobs these are.
        namespace: prefix of every Redis key; the workers' `PENSTOCK_NAMESPACE`.
        limits: size limits, checked before anything is sent.
        windows: how long finished jobs are known.
        replicas: what must confirm a job.
        bounds: how full a queue may get before it takes no new job of this producer.
        clock: tells the instant that jobs are stamped with.
    """

    def __init__(  # noqa: PLR0913  each is a choice of its own, and all but the first have a default
        self,
        redis_url: str,
        *,
        tenant: str = DEFAULT_TENANT,
        namespace: str = "penstock",
        limits: Limits | None = None,
        windows: Windows | None = None,
        replicas: Replicas | None = None,
        bounds: Bounds | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.tenant = require_name(tenant, Code.REQUEST_TENANT_INVALID, "a tenant")
        self.limits = limits or Limits()
        self._clock = clock
        self._client = connect(redis_url)
        confirming = replicas or Replicas()
        self._windows = windows or Windows()
        self._queue = Enqueuer(
            self._client,
            namespace,
            replica_acks=confirming.acks,
            replica_ack_wait=confirming.wait,
            bounds=bounds or Bounds(),
        )
        self._records = JobRecords(self._client, namespace)
        self._bases = BaseBatches(self._client, namespace)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Make a producer from `REDIS_URL`, `PENSTOCK_NAMESPACE`, `PENSTOCK_TENANT` and the limits' settings.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, naming every setting at fault.
        """
        return cls.from_settings(ProducerSettings.from_environment(environ))

    @classmethod
    def from_settings(cls, settings: ProducerSettings, tenant: str | None = None) -> Self:
        """Make a producer by settings that were read before; for `tenant` where that is not theirs."""
        return cls(
            settings.redis_url,
            tenant=tenant or settings.tenant,
            namespace=settings.namespace,
            limits=settings.limits,
            windows=Windows(
                timedelta(seconds=settings.idempotency_seconds), timedelta(seconds=settings.record_seconds)
            ),
            replicas=Replicas(settings.replica_acks, timedelta(seconds=settings.replica_ack_seconds)),
            bounds=settings.bounds,
        )

    def enqueue(
        self,
        job: Payload | EncodedPayload,
        *,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
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
            on_full: what to do where the queue is full: `raise`, `wait` up to five minutes, or wait with a `Patience`
                of one's own. A job that is known is told to be known however full the queue is.

        Raises:
            InvalidInputError: where the payload is over a limit; nothing was sent.
            QueueFullError: `QUEUE_FULL` or `QUEUE_OUT_OF_MEMORY`; `retry_after` says when there should be room.
            ConflictError: `JOB_CONFLICT` (`BATCH_CONFLICT` for a batch) where the key is known with another payload.
            PenstockError: of the `QUEUE_` family: send it again.
        """
        payload = self._encode(job)
        return self._enqueue([payload], [idempotency_key], [delay], current_cause(trace), revive, on_full)[0]

    def enqueue_many(
        self,
        jobs: Iterable[Payload | EncodedPayload],
        *,
        idempotency_keys: Sequence[str | None] | None = None,
        spread: timedelta | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
    ) -> list[Enqueued]:
        """Enqueue several jobs, in order, a thousand to a round trip. All are checked before the first is sent.

        Args:
            jobs: payloads, or ones that were encoded before.
            idempotency_keys: one for each job, as `enqueue` takes it.
            spread: make them ready evenly over this time rather than all at once.
            revive: as `enqueue`.
            trace: as `enqueue`.
            on_full: as `enqueue`. The jobs that found room are not sent again, those that did not wait.

        Raises:
            As `enqueue`; a `QUEUE_` error in the middle leaves the first ones enqueued: send all again. A conflict
                names the first job that has one in `details["conflicts"]`; all that have none are enqueued. Where a
                queue is full, `details["refused"]` has the places (from 0) of the jobs that Penstock does not have.
        """
        payloads = [self._encode(job) for job in jobs]
        keys = list(idempotency_keys) if idempotency_keys is not None else [None] * len(payloads)
        if len(keys) != len(payloads):
            raise InvalidInputError(Code.REQUEST_USAGE, f"{len(keys)} idempotency keys for {len(payloads)} jobs")
        delays: list[timedelta | datetime | None] = [None] * len(payloads)
        if spread:
            delays = [spread * place / len(payloads) for place in range(len(payloads))]
        return self._enqueue(payloads, keys, delays, current_cause(trace), revive, on_full)

    def enqueue_at(
        self,
        job: Payload | EncodedPayload,
        when: datetime,
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
    ) -> Enqueued:
        """Enqueue a job that becomes ready at `when` (aware, by Redis's clock); at once where that has passed.

        Raises:
            InvalidInputError: where `when` has no offset; and as `enqueue`.
        """
        if when.tzinfo is None:
            raise InvalidInputError(Code.REQUEST_USAGE, "enqueue_at wants an aware datetime: give it a time zone")
        payload = self._encode(job)
        return self._enqueue([payload], [idempotency_key], [when], current_cause(trace), (), on_full)[0]

    def _encode(self, job: Payload | EncodedPayload) -> EncodedPayload:
        return job if isinstance(job, EncodedPayload) else job.encode(self.limits)

    def _enqueue(
        self,
        payloads: Sequence[EncodedPayload],
        keys: Sequence[str | None],
        dues: Sequence[timedelta | datetime | None],
        cause: Cause,
        revive: Collection[JobState],
        on_full: OnFull | Patience,
    ) -> list[Enqueued]:
        if not is_tracing():
            return self._offer(payloads, self._jobs(payloads, keys, dues, cause), revive, on_full)
        with enqueueing(payloads, cause) as traced:
            return self._offer(payloads, self._jobs(payloads, keys, dues, traced), revive, on_full)

    def _offer(
        self,
        payloads: Sequence[EncodedPayload],
        jobs: Sequence[NewJob],
        revive: Collection[JobState],
        on_full: OnFull | Patience,
    ) -> list[Enqueued]:
        queues = [payload.queue for payload in payloads]
        offered = offer_all(self._queue, queues, jobs, revive, patience_of(on_full))
        require_no_conflict(payloads, offered)
        return as_enqueued(payloads, offered)

    def _jobs(
        self,
        payloads: Sequence[EncodedPayload],
        keys: Sequence[str | None],
        dues: Sequence[timedelta | datetime | None],
        cause: Cause,
    ) -> list[NewJob]:
        """The jobs of payloads; a key that is given goes before the payload's own."""
        encode = JobEncoder(self.tenant, self._clock(), cause).encode
        keyed, unkeyed = self._windows.keyed, self._windows.unkeyed
        chosen = [
            payload.idempotency_key if given is None else given for payload, given in zip(payloads, keys, strict=True)
        ]
        fresh = iter(random_ids(chosen.count(None)))
        jobs: list[NewJob] = []
        for payload, key, due in zip(payloads, chosen, dues, strict=True):
            if key is None:
                jobs.append(encode(payload, None, next(fresh), unkeyed, due))
            else:
                jobs.append(encode(payload, key, job_id(self.tenant, payload.kind, key), keyed, due))
        return jobs

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
            UnavailableError: `QUEUE_FULL` or `QUEUE_OUT_OF_MEMORY`, where `options.on_full` is `raise` or its patience
                is over: run the same call again, later.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`: run the same call again.
        """
        chosen = options or batches.SubmitOptions()
        cut = batches.cut(form_id, rows, batch_id, chosen, self.limits)
        size = batches.batch_size_of(chosen, self.limits)
        patiently(lambda: self.claim_base(batch_id, form_id, size), patience_of(chosen.on_full))

        def enqueue(payload: EncodedPayload) -> Enqueued:
            # Whoever submits again wants it done, so a batch that is a dead letter gets a new life.
            return self._enqueue([payload], [None], [None], current_cause(), (JobState.DEAD,), "raise")[0]

        return batches.send(cut, enqueue, chosen, on_progress)

    def claim_base(self, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """Note how a file is cut, before anything of it is sent.

        The note lasts a week after it was last asked for; the ledger guards the same for ever.

        Raises:
            ConflictError: `BATCH_CONFLICT` where the same base batch was sent to another form or cut otherwise.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        self._bases.claim(self.tenant, base_batch_id, form_id, batch_size)

    def of_tenant(self, tenant: str) -> Self:
        """This producer for another tenant's jobs, over the same connections, which `close` of this one closes.

        Raises:
            InvalidInputError: `REQUEST_TENANT_INVALID`.
        """
        made = copy.copy(self)
        made.tenant = require_name(tenant, Code.REQUEST_TENANT_INVALID, "a tenant")
        return made

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
