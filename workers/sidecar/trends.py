"""What each minute of the last hours brought, by queue; and which posts went out in it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import redis

from penstock.producers.queue.instants import instant
from penstock.producers.queue.tallies import Tally
from penstock.schemas.names import Queue
from penstock.workers.queues.post_points import PostPoint, PostTrendLog
from penstock.workers.queues.trend_points import POINTS_KEPT, TrendLog


@dataclass(frozen=True, slots=True)
class TrendItem:
    """A queue at the end of a minute, and what that minute brought.

    Attributes:
        at: the end.
        seconds: what it covers: 60, or more where no scheduler was there to note the minutes before.
        enqueued, done, retried, postponed, dead: jobs within it.
        wait_seconds_mean: of the jobs that were leased in it, how long they had been ready; None where none was.
        busy_seconds: that worker threads were at work.
        ready, scheduled, leased, parked: jobs at its end.
        oldest_seconds: how long the job that was ready longest had been so at its end; None where none was.
    """

    at: datetime
    queue: str
    seconds: float
    enqueued: int
    done: int
    retried: int
    postponed: int
    dead: int
    wait_seconds_mean: float | None
    busy_seconds: float
    ready: int
    scheduled: int
    leased: int
    parked: int
    oldest_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; `at` is RFC 3339 in UTC."""
        return asdict(self) | {"at": self.at.isoformat()}


class Trends:
    """Reads trends. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._log = TrendLog(client, namespace)
        self._posts = PostTrendLog(client, namespace)

    def posts(self, minutes: int = 60) -> Sequence[PostPoint]:
        """The posts that went out in each of the last minutes that were noted, at most a day of them, oldest first.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        return self._posts.read(minutes)

    def read(self, minutes: int = 60) -> list[TrendItem]:
        """The last minutes that were noted, at most a day of them, the oldest first.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        count = min(minutes + 1, POINTS_KEPT)
        items = [item for queue in Queue for item in _items(queue, self._log.read(queue, count))]
        if items:
            # Minutes in which nothing was noted don't make room for older ones.
            newest = max(item.at for item in items)
            items = [item for item in items if (newest - item.at).total_seconds() < minutes * 60]
        return sorted(items, key=lambda item: (item.at, item.queue))


def _items(queue: str, points: list[dict[str, Any]]) -> Iterator[TrendItem]:
    for before, point in pairwise(points):
        at = instant(str(point["at"]))
        if at is None:
            continue
        brought = Tally.of(point.get("tally") or {}).since(Tally.of(before.get("tally") or {}))
        oldest_ms = point.get("oldest_ms")
        yield TrendItem(
            at=at,
            queue=queue,
            seconds=(point["at"] - before["at"]) / 1_000,
            enqueued=brought.accepted,
            done=brought.done,
            retried=brought.retried,
            postponed=brought.postponed,
            dead=brought.died,
            wait_seconds_mean=_mean_seconds(brought),
            busy_seconds=brought.busy_ms / 1_000,
            ready=int(point.get("ready") or 0),
            scheduled=int(point.get("scheduled") or 0),
            leased=int(point.get("leased") or 0),
            parked=int(point.get("parked") or 0),
            oldest_seconds=None if oldest_ms is None else oldest_ms / 1_000,
        )


def _mean_seconds(brought: Tally) -> float | None:
    return round(brought.waited_ms / 1_000 / brought.leased_total, 3) if brought.leased_total else None
