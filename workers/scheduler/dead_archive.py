"""The loop that brings dead letters to PostgreSQL, within a second of the death."""

import time
from collections.abc import Callable
from datetime import timedelta

from penstock.schemas.names import Queue
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.scheduler.each_queue import for_each_queue

COUNT_EVERY = timedelta(seconds=5)
#: Counting takes no more than this part of the time, however many letters there are.
_COUNTING_SHARE = 0.01


class DeadArchive:
    """Archives each queue's dead letters, and now and then counts those that wait for an operator."""

    name = "dead_letters"
    interval = timedelta(milliseconds=500)
    channel = None

    def __init__(self, archive: Archive, clock: Callable[[], float] = time.monotonic) -> None:
        self._archive = archive
        self._clock = clock
        self._count_at = clock()

    def run_once(self) -> bool:
        """Archive a round of each queue; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; what is not committed stays in Redis.
        """
        more = any(for_each_queue(self._archive.run_round))
        if not more and self._clock() >= self._count_at:
            self._count()
        return more

    def _count(self) -> None:
        started = self._clock()
        self._archive.count_open(list(Queue))
        took = self._clock() - started
        self._count_at = self._clock() + max(COUNT_EVERY.total_seconds(), took / _COUNTING_SHARE)
