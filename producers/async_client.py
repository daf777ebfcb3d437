"""The asynchronous producer: the same calls, awaited."""

import asyncio
import os
import threading
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from penstock.producers.batches import Progress, Row, SubmitOptions, Submitted
from penstock.producers.client import Enqueued, Producer
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
    ) -> Enqueued:
        """As `Producer.enqueue`."""
        return await asyncio.to_thread(
            self._producer.enqueue, job, delay=delay, idempotency_key=idempotency_key, revive=revive, trace=trace
        )

    async def enqueue_many(
        self,
        jobs: Iterable[Payload | EncodedPayload],
        *,
        idempotency_keys: Sequence[str | None] | None = None,
        spread: timedelta | None = None,
        revive: Collection[JobState] = (),
        trace: str | None = None,
    ) -> list[Enqueued]:
        """As `Producer.enqueue_many`."""
        return await asyncio.to_thread(
            self._producer.enqueue_many,
            jobs,
            idempotency_keys=idempotency_keys,
            spread=spread,
            revive=revive,
            trace=trace,
        )

    async def enqueue_at(
        self,
        job: Payload | EncodedPayload,
        when: datetime,
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> Enqueued:
        """As `Producer.enqueue_at`."""
        return await asyncio.to_thread(
            self._producer.enqueue_at, job, when, idempotency_key=idempotency_key, trace=trace
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
        source = _Drained(rows, loop) if isinstance(rows, AsyncIterable) else _Stoppable(rows)
        report = None if on_progress is None else _in_loop(on_progress, loop)
        try:
            return await asyncio.to_thread(
                self._producer.submit, form_id, source, batch_id=batch_id, options=options, on_progress=report
            )
        finally:
            source.stop()

    async def claim_base(self, base_batch_id: str, form_id: str, batch_size: int) -> None:
        """As `Producer.claim_base`."""
        await asyncio.to_thread(self._producer.claim_base, base_batch_id, form_id, batch_size)

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


def _in_loop(report: Callable[[Progress], None], loop: asyncio.AbstractEventLoop) -> Callable[[Progress], None]:
    def hand_over(progress: Progress) -> None:
        loop.call_soon_threadsafe(report, progress)

    return hand_over


class _Stoppable(Iterator[Row]):
    """A source that ends with an error once it is stopped, because a thread can't be cancelled."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Give no further row."""
        self._stopped.set()

    def __next__(self) -> Row:
        if self._stopped.is_set():
            # No mere end: what was read of a batch by then must not be sent as if it were all.
            raise CancelledError
        return next(self._rows)


class _Drained(_Stoppable):
    """An asynchronous source, iterated from another thread a step at a time, so that it sets the pace."""

    def __init__(self, rows: AsyncIterable[Row], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(self._steps(aiter(rows)))
        self._loop = loop
        self._step: Future[Row] | None = None

    def stop(self) -> None:
        """Give no further row, and no longer wait for one."""
        super().stop()
        if self._step is not None:
            self._step.cancel()

    def _steps(self, source: AsyncIterator[Row]) -> Iterator[Row]:
        while True:
            self._step = asyncio.run_coroutine_threadsafe(_next(source), self._loop)
            if self._stopped.is_set():
                self._step.cancel()
            try:
                yield self._step.result()
            except StopAsyncIteration:
                return


async def _next(source: AsyncIterator[Row]) -> Row:
    return await anext(source)
