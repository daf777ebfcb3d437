"""The gateway's client for event loops: the same calls, awaited. Needs the extra `http`."""

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from penstock.producers.async_calls import Drained, Stoppable, ended, in_loop
from penstock.producers.batches import Progress, Row, SubmitOptions, Submitted
from penstock.producers.http_client import Durability, HttpProducer
from penstock.producers.http_results import AcceptedPost, AppliedForm, BatchStatus, PostStatus, RejectedRow
from penstock.producers.patience import OnFull, Patience
from penstock.producers.queue.records import JobRecord
from penstock.schemas.limits import Limits
from penstock.schemas.scheduled_post import SchedulePost

Item = TypeVar("Item")
_END: Any = object()


class AsyncHttpProducer:
    """Hands work to the gateway without blocking the event loop; see `HttpProducer` for what each call promises.

    The calls run in threads, as those of `AsyncProducer` do.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        limits: Limits | None = None,
        timeout: timedelta = timedelta(seconds=60),
        retry_for: timedelta = timedelta(seconds=30),
        durability: Durability = "redis",
    ) -> None:
        self._producer = HttpProducer(
            url, api_key=api_key, limits=limits, timeout=timeout, retry_for=retry_for, durability=durability
        )

    async def put_form(self, form_id: str, definition: Mapping[str, Any]) -> AppliedForm:
        """As `HttpProducer.put_form`."""
        return await asyncio.to_thread(self._producer.put_form, form_id, definition)

    async def form(self, form_id: str, version: int | None = None) -> Mapping[str, Any] | None:
        """As `HttpProducer.form`."""
        return await asyncio.to_thread(self._producer.form, form_id, version)

    async def submit(
        self,
        form_id: str,
        rows: Iterable[Row] | AsyncIterable[Row],
        *,
        batch_id: str,
        options: SubmitOptions | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Submitted:
        """As `HttpProducer.submit`; `rows` may be asynchronous, and can't be had again then."""
        loop = asyncio.get_running_loop()
        chosen = options or SubmitOptions()
        report = None if on_progress is None else in_loop(on_progress, loop)
        source = _stoppable(rows, loop)
        with ended(chosen.on_full) as patience:
            own = replace(chosen, on_full=patience)
            try:
                return await asyncio.to_thread(
                    self._producer.submit, form_id, source, batch_id=batch_id, options=own, on_progress=report
                )
            finally:
                source.stop()

    async def batch(self, batch_id: str) -> BatchStatus | None:
        """As `HttpProducer.batch`."""
        return await asyncio.to_thread(self._producer.batch, batch_id)

    def rejections(self, batch_id: str) -> AsyncIterator[RejectedRow]:
        """As `HttpProducer.rejections`, iterated asynchronously."""
        return _awaited(self._producer.rejections(batch_id))

    async def schedule_post(
        self, post: SchedulePost, *, idempotency_key: str | None = None, on_full: OnFull | Patience = "raise"
    ) -> AcceptedPost:
        """As `HttpProducer.schedule_post`."""
        with ended(on_full) as patience:
            return await asyncio.to_thread(
                self._producer.schedule_post, post, idempotency_key=idempotency_key, on_full=patience
            )

    async def post(self, post_id: uuid.UUID) -> PostStatus | None:
        """As `HttpProducer.post`."""
        return await asyncio.to_thread(self._producer.post, post_id)

    def posts(self, **filters: str) -> AsyncIterator[PostStatus]:
        """As `HttpProducer.posts`, iterated asynchronously."""
        return _awaited(self._producer.posts(**filters))

    async def reschedule_post(self, post_id: uuid.UUID, due_at: datetime, *, version: int | None = None) -> PostStatus:
        """As `HttpProducer.reschedule_post`."""
        return await asyncio.to_thread(self._producer.reschedule_post, post_id, due_at, version=version)

    async def cancel_post(self, post_id: uuid.UUID) -> PostStatus:
        """As `HttpProducer.cancel_post`."""
        return await asyncio.to_thread(self._producer.cancel_post, post_id)

    async def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """As `HttpProducer.job`."""
        return await asyncio.to_thread(self._producer.job, job_id)

    async def jobs(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """As `HttpProducer.jobs`."""
        return await asyncio.to_thread(self._producer.jobs, job_ids)

    async def ping(self) -> None:
        """As `HttpProducer.ping`."""
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


class _StoppableAgain(Iterable[Row]):
    """Rows that can be had again and again, until somebody says stop."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self._given: list[Stoppable] = []
        self._is_stopped = False

    def stop(self) -> None:
        """Give no further row."""
        self._is_stopped = True
        for given in self._given:
            given.stop()

    def __iter__(self) -> Iterator[Row]:
        given = Stoppable(self._rows)
        self._given.append(given)
        if self._is_stopped:
            given.stop()
        return given


def _stoppable(
    rows: Iterable[Row] | AsyncIterable[Row], loop: asyncio.AbstractEventLoop
) -> Stoppable | _StoppableAgain:
    if isinstance(rows, AsyncIterable):
        return Drained(rows, loop)
    return Stoppable(rows) if iter(rows) is rows else _StoppableAgain(rows)


async def _awaited(items: Iterator[Item]) -> AsyncIterator[Item]:
    while (item := await asyncio.to_thread(next, items, _END)) is not _END:
        yield item
