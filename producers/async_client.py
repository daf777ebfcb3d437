"""The asynchronous producer: the same calls, awaited."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from penstock.producers.batches import Progress, Row, SubmitOptions, Submitted
from penstock.producers.client import Enqueued, Producer
from penstock.producers.queue.records import JobRecord
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

    async def enqueue(self, job: Payload | EncodedPayload, *, delay: timedelta | None = None) -> Enqueued:
        """As `Producer.enqueue`."""
        return await asyncio.to_thread(self._producer.enqueue, job, delay=delay)

    async def enqueue_many(self, jobs: Iterable[Payload | EncodedPayload]) -> list[Enqueued]:
        """As `Producer.enqueue_many`."""
        return await asyncio.to_thread(self._producer.enqueue_many, jobs)

    async def enqueue_at(self, job: Payload | EncodedPayload, when: datetime) -> Enqueued:
        """As `Producer.enqueue_at`."""
        return await asyncio.to_thread(self._producer.enqueue_at, job, when)

    async def submit(
        self,
        form_id: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        *,
        batch_id: str,
        options: SubmitOptions | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Submitted:
        """As `Producer.submit`; `rows` may be asynchronous. `on_progress` is called in the event loop's thread."""
        loop = asyncio.get_running_loop()
        source = _drain(rows, loop) if isinstance(rows, AsyncIterable) else rows
        report = None if on_progress is None else _in_loop(on_progress, loop)
        return await asyncio.to_thread(
            self._producer.submit, form_id, source, batch_id=batch_id, options=options, on_progress=report
        )

    async def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """As `Producer.job`."""
        return await asyncio.to_thread(self._producer.job, job_id)

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


def _drain(rows: AsyncIterable[Row], loop: asyncio.AbstractEventLoop) -> Iterator[Row]:
    """Iterate an asynchronous source from another thread, a step at a time, so that it sets the pace."""
    source = aiter(rows)

    async def step() -> Row | None:
        return await anext(source, None)

    while (row := asyncio.run_coroutine_threadsafe(step(), loop).result()) is not None:
        yield row
