"""The synchronous producer."""

import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from dramatiq.brokers.redis import RedisBroker

from penstock.producers import batches
from penstock.producers.queue.bases import BaseBatches
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.message import build_message
from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.producers.settings import ProducerSettings
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload, Payload
from penstock.schemas.limits import Limits
from penstock.schemas.names import DEFAULT_TENANT, require_name


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What a producer is told of a job that Redis has.

    `durability` is `redis`: the job is as safe as Redis's own persistence makes it.
    """

    job_id: uuid.UUID
    kind: str
    queue: str
    durability: str = "redis"


class Producer:
    """Hands jobs to Penstock. Safe to share between threads; close it, or use it as a context manager.

    Args:
        redis_url: where the queues are.
        tenant: whose jobs these are.
        namespace: prefix of every Redis key; the workers' `PENSTOCK_NAMESPACE`.
        limits: size limits, checked before anything is sent.
        clock: tells the instant that jobs are stamped with.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        tenant: str = DEFAULT_TENANT,
        namespace: str = "penstock",
        limits: Limits | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.tenant = require_name(tenant, Code.REQUEST_TENANT_INVALID, "a tenant")
        self.limits = limits or Limits()
        self._clock = clock
        self._client = connect(redis_url)
        self._broker = RedisBroker(client=self._client, namespace=namespace, middleware=[])
        self._records = JobRecords(self._client, namespace)
        self._bases = BaseBatches(self._client, namespace)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Make a producer from `REDIS_URL`, `PENSTOCK_NAMESPACE`, `PENSTOCK_TENANT` and the limits' settings.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, naming every setting at fault.
        """
        settings = ProducerSettings.from_environment(environ)
        return cls(settings.redis_url, tenant=settings.tenant, namespace=settings.namespace, limits=settings.limits)

    def enqueue(self, job: Payload | EncodedPayload, *, delay: timedelta | None = None) -> Enqueued:
        """Enqueue one job; when this returns, Redis has it.

        A payload with an idempotency key (a batch has its id) gives the same job id each time; sending it again
        repeats no effect.

        Raises:
            InvalidInputError: where the payload is over a limit; nothing was sent.
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`: send it again.
        """
        payload = job if isinstance(job, EncodedPayload) else job.encode(self.limits)
        now = self._clock()
        key = payload.idempotency_key
        identity = uuid.uuid4() if key is None else job_id(self.tenant, payload.kind, key)
        message = build_message(payload, identity, self.tenant, now)
        state = JobState.READY if delay is None else JobState.SCHEDULED
        # The record first: a job without its message was never acknowledged, the other way round it would be
        # a job that nobody can ask for.
        self._records.write(JobRecord(identity, state, payload.kind, self.tenant, payload.queue, now))
        with redis_errors("enqueueing"):
            self._broker.enqueue(message, delay=None if delay is None else _milliseconds(delay))
        return Enqueued(identity, payload.kind, payload.queue)

    def enqueue_many(self, jobs: Iterable[Payload | EncodedPayload]) -> list[Enqueued]:
        """Enqueue several jobs, in order. All are checked before the first is sent.

        Raises:
            As `enqueue`; a `QUEUE_` error in the middle leaves the first ones enqueued: send all again.
        """
        payloads: Sequence[EncodedPayload] = [
            job if isinstance(job, EncodedPayload) else job.encode(self.limits) for job in jobs
        ]
        return [self.enqueue(payload) for payload in payloads]

    def enqueue_at(self, job: Payload | EncodedPayload, when: datetime) -> Enqueued:
        """Enqueue a job that becomes ready at `when` (aware); at once where that has passed.

        Raises:
            InvalidInputError: where `when` has no offset; and as `enqueue`.
        """
        if when.tzinfo is None:
            raise InvalidInputError(Code.REQUEST_USAGE, "enqueue_at wants an aware datetime: give it a time zone")
        delay = when - self._clock()
        return self.enqueue(job, delay=delay if delay > timedelta(0) else None)

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
        return batches.send(cut, self.enqueue, chosen, on_progress)

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


def _milliseconds(duration: timedelta) -> int:
    return -(-duration // timedelta(milliseconds=1))
