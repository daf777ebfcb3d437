"""The loop that notes each minute how the queues stand, for whoever wants to see the last hours."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis

from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.tallies import Tallies, Tally
from penstock.schemas.names import Queue
from penstock.workers.queues.trend_points import TrendLog
from penstock.workers.scheduler.each_queue import for_each_queue

_MINUTE_MS = 60_000


class TrendPoints:
    """Notes a point a minute and queue. Of several schedulers the first one in each minute does.

    Args:
        clock: seconds since 1970. Only the minute hangs on it.
    """

    name = "trends"
    interval = timedelta(seconds=5)
    channel = None

    def __init__(self, client: redis.Redis, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._inspector = QueueInspector(client, namespace)
        self._tallies = Tallies(client, namespace)
        self._log = TrendLog(client, namespace)
        self._clock = clock
        self._noted = 0

    def run_once(self) -> bool:
        """Note this minute's points, unless they are noted.

        Raises:
            PenstockError: of the family `QUEUE_`.
        """
        minute = int(self._clock() * 1_000) // _MINUTE_MS * _MINUTE_MS
        if minute > self._noted:
            for_each_queue(lambda queue: self._note(queue, minute))
            self._noted = minute
        return False

    def _note(self, queue: Queue, minute: int) -> bool:
        return self._log.note(queue, minute, _point(self._inspector.counts(queue), self._tallies.read(queue)))


def _point(counts: QueueCounts, tally: Tally) -> dict[str, Any]:
    age = counts.oldest_ready_age
    return {
        "ready": counts.ready,
        "scheduled": counts.scheduled,
        "leased": counts.leased,
        "parked": counts.parked,
        "dead": counts.dead,
        "oldest_ms": None if age is None else age // timedelta(milliseconds=1),
        "tally": tally.as_dict(),
    }
