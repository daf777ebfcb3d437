"""Looks keys up, one query at a time: those that are asked for while one runs share the next."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from penstock.producers.storage.api_keys import StoredKey
from penstock.schemas.errors import Code, PenstockError, UnavailableError

ReadKeys = Callable[[Sequence[str]], Awaitable[Mapping[str, StoredKey]]]

#: How long a caller waits for an answer.
ANSWER_WITHIN = timedelta(seconds=3)
#: Keys of one query.
QUERY_LIMIT = 1_000
#: Keys that may wait for theirs.
WAITING_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and the monotonic seconds just before it was asked for: later changes are not in it."""

    key: StoredKey
    asked_at: float


class KeyLookups:
    """Lookups of one event loop.

    A flood of keys that nobody knows is one statement at a time to PostgreSQL, and not one for each request.

    Args:
        read: reads the keys of these prefixes in one query.
        clock: monotonic seconds.
    """

    def __init__(self, read: ReadKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._waiting: dict[str, asyncio.Future[Found]] = {}
        self._running: asyncio.Task[None] | None = None

    async def find(self, prefix: str) -> Found:
        """The key of `prefix` as a query finds it that begins after this call.

        Raises:
            UnavailableError: `STORAGE_UNAVAILABLE`: no answer in time, or too many keys wait for theirs.
        """
        answer = self._waiting.get(prefix)
        if answer is None:
            if len(self._waiting) >= WAITING_LIMIT:
                raise UnavailableError(Code.STORAGE_UNAVAILABLE, "too many API keys are being looked up at once")
            answer = self._waiting[prefix] = asyncio.get_running_loop().create_future()
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="penstock-key-lookups")
        try:
            # Shielded: whoever goes away takes nothing from the others who wait for the same.
            return await asyncio.wait_for(asyncio.shield(answer), ANSWER_WITHIN.total_seconds())
        except TimeoutError:
            told = f"API keys can't be looked up: no answer of PostgreSQL within {ANSWER_WITHIN.total_seconds():g} s"
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, told) from None

    async def close(self) -> None:
        """End what runs; who still waits is told `STORAGE_UNAVAILABLE`."""
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
        _refuse(self._waiting, UnavailableError(Code.STORAGE_UNAVAILABLE, "this process is stopping"))
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = dict(islice(self._waiting.items(), QUERY_LIMIT))
                for prefix in batch:
                    del self._waiting[prefix]
                await self._answer(batch)
        finally:
            self._running = None

    async def _answer(self, batch: Mapping[str, "asyncio.Future[Found]"]) -> None:
        asked_at = self._clock()
        try:
            found = await self._read(list(batch))
        except PenstockError as error:
            _refuse(batch, error)
            return
        except BaseException:
            _refuse(batch, UnavailableError(Code.STORAGE_UNAVAILABLE, "the lookup of API keys was interrupted"))
            raise
        for prefix, answer in batch.items():
            answer.set_result(Found(found[prefix], asked_at))


def _refuse(batch: Mapping[str, "asyncio.Future[Found]"], error: PenstockError) -> None:
    for answer in batch.values():
        answer.set_exception(error)
        # Nobody may be waiting any more, which is no fault.
        answer.exception()
