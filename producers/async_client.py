"""The asynchronous producer: the same calls, awaited."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from penstock.producers.async_calls import Drained, Stoppable, ended, in_loop
from penstock.producers.batches import Progress, Row, SubmitOptions, Submitted
from penstock.producers.client import Producer
from penstock.producers.enqueued import Enqueued
from penstock.producers.patience import OnFull, Patience
from penstock.producers.queue.records import JobRecord, JobState
from penstock.schemas.job import EncodedPayload, Payload


class AsyncProducer:
    """Hands jobs to Penstock without blocking the event loop; see `Producer` for what each call promises.

    The calls run in threads: encoding and compressing a batch takes milliseconds of CPU that an event loop
    should not spend.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As `Producer.from_environment`."""
        return cls(Producer.from_environment(environ))

    async def enqueue(
        self,
        job: Payload | EncodedPayload,
        *,
        delay: timedelta | None = None,
        idempotency_key: str | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
    ) -> Enqueued:
        """As `Producer.enqueue`."""
        with ended(on_full) as patience:
            return await asyncio.to_thread(
                self._producer.enqueue,
                job,
                delay=delay,
                idempotency_key=idempotency_key,
                revive=revive,
                trace=trace,
                on_full=patience,
            )

    async def enqueue_many(
        self,
        jobs: Iterable[Payload | EncodedPayload],
        *,
        idempotency_keys: Sequence[str | None] | None = None,
        spread: timedelta | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
    ) -> list[Enqueued]:
        """As `Producer.enqueue_many`."""
        with ended(on_full) as patience:
            return await asyncio.to_thread(
                self._producer.enqueue_many,
                jobs,
                idempotency_keys=idempotency_keys,
                spread=spread,
                revive=revive,
                trace=trace,
                on_full=patience,
            )

    async def enqueue_at(
        self,
        job: Payload | EncodedPayload,
        when: datetime,
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
        on_full: OnFull | Patience = "raise",
    ) -> Enqueued:
        """As `Producer.enqueue_at`."""
        with ended(on_full) as patience:
            return await asyncio.to_thread(
                self._producer.enqueue_at,
                job,
                when,
                idempotency_key=idempotency_key,
                trace=trace,
                on_full=patience,
            )

    async def submit(
        self,
        form_id: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        *,
        batch_id: str,
        options: SubmitOptions | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Submitted:
        """As `Producer.submit`; `rows` may be asynchronous. `on_progress` is called in the event loop's thread.

        A submit that is cancelled asks for no further row; batches before it may have been sent, and the same call
        again sends the rest.
        """
        loop = asyncio.get_running_loop()
        source = Drained(rows, loop) if isinstance(rows, AsyncIterable) else Stoppable(rows)
        report = None if on_progress is None else in_loop(on_progress, loop)
        chosen = options or SubmitOptions()
        with ended(chosen.on_full) as patience:
            chosen = replace(chosen, on_full=patience)
            try:
                return await asyncio.to_thread(
                    self._producer.submit, form_id, source, batch_id=batch_id, options=chosen, on_progress=report
                )
            finally:
                source.stop()

    async def claim_base(self, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """As `Producer.claim_base`."""
        await asyncio.to_thread(self._producer.claim_base, base_batch_id, form_id, batch_size)

    def of_tenant(self, tenant: str) -> Self:
        """As `Producer.of_tenant`."""
        return type(self)(self._producer.of_tenant(tenant))

    async def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """As `Producer.job`."""
        return await asyncio.to_thread(self._producer.job, job_id)

    async def jobs(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """As `Producer.jobs`."""
        return await asyncio.to_thread(self._producer.jobs, job_ids)

    async def ping(self) -> None:
        """As `Producer.ping`."""
        await asyncio.to_thread(self._producer.ping)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._producer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
