"""What calls in threads need on behalf of an event loop: sources that can be stopped, and waits that can be ended."""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace

from penstock.producers.batches import Progress, Row
from penstock.producers.patience import OnFull, Patience, patience_of


@contextmanager
def ended(on_full: OnFull | Patience) -> Iterator[OnFull | Patience]:
    """The patience for a call in a thread, which can't be cancelled: it is over when the block is left."""
    patience = patience_of(on_full)
    if patience is None:
        yield on_full
        return
    own = replace(patience, stop=threading.Event())
    try:
        yield own
    finally:
        own.stop.set()


def in_loop(report: Callable[[Progress], None], loop: asyncio.AbstractEventLoop) -> Callable[[Progress], None]:
    """The report, made in the loop's thread."""

    def hand_over(progress: Progress) -> None:
        loop.call_soon_threadsafe(report, progress)

    return hand_over


class Stoppable(Iterator[Row]):
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


class Drained(Stoppable):
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
