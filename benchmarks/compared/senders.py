"""What every system is asked to do by its producer: enqueue jobs of a name, one by one or several at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

#: The arguments of one job.
Arguments = tuple[Any, ...]
BATCH_ROWS = 1_000


class Sender(Protocol):
    """A system's producer. Jobs are named `batch`, `batch_of_dicts`, `tiny`, `noop` and `note`."""

    def send(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs one by one."""

    def send_many(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs in one call of the system's own for that."""

    def submit(self, base: str, rows: Sequence[bytes]) -> None:
        """Enqueue rows in batches of a thousand, named `BASE-0001` and so on."""

    def close(self) -> None:
        """Let go of connections."""


class SyncSender:
    """One of functions.

    Args:
        one: enqueues a job of a name.
        many: enqueues several, where the system has a way.
    """

    def __init__(
        self, one: Callable[..., object], many: Callable[[str, Sequence[Arguments]], object] | None = None
    ) -> None:
        self._one = one
        self._many = many

    def send(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs one by one."""
        for job in jobs:
            self._one(name, *job)

    def send_many(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs in one call."""
        if self._many is None:
            raise NotImplementedError("this system has no call that enqueues several jobs")
        self._many(name, jobs)

    def submit(self, base: str, rows: Sequence[bytes]) -> None:
        """Enqueue rows in batches."""
        for job in batches(base, rows):
            self._one("batch", *job)

    def close(self) -> None:
        """Connections end with the process."""


class AsyncSender:
    """One of coroutines, all on one event loop.

    Args:
        opened: makes what the others take first.
        closed: lets go of it.
    """

    def __init__(
        self,
        opened: Callable[[], Awaitable[Any]],
        one: Callable[..., Awaitable[object]],
        many: Callable[[Any, str, Sequence[Arguments]], Awaitable[object]] | None = None,
        closed: Callable[[Any], Awaitable[object]] | None = None,
    ) -> None:
        self._closed = closed
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(_awaited(opened()))
        self._one = one
        self._many = many

    def send(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs one by one."""
        self._loop.run_until_complete(self._send(name, jobs))

    async def _send(self, name: str, jobs: Iterable[Arguments]) -> None:
        for job in jobs:
            await self._one(self._client, name, *job)

    def send_many(self, name: str, jobs: Sequence[Arguments]) -> None:
        """Enqueue jobs in one call."""
        if self._many is None:
            raise NotImplementedError("this system has no call that enqueues several jobs")
        self._loop.run_until_complete(_awaited(self._many(self._client, name, jobs)))

    def submit(self, base: str, rows: Sequence[bytes]) -> None:
        """Enqueue rows in batches."""
        self._loop.run_until_complete(self._send("batch", batches(base, rows)))

    def close(self) -> None:
        """Let go of connections."""
        if self._closed is not None:
            self._loop.run_until_complete(_awaited(self._closed(self._client)))


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given


def batches(base: str, rows: Sequence[bytes]) -> Iterable[tuple[str, str]]:
    """Ids and the JSON text of the rows."""
    for number, start in enumerate(range(0, len(rows), BATCH_ROWS), start=1):
        yield f"{base}-{number:04d}", (b"[" + b",".join(rows[start : start + BATCH_ROWS]) + b"]").decode()
