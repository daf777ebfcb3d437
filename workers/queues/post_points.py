"""How many posts went out in each minute of the last day, and how late: points beside those of the queues."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from penstock.workers.queues.trend_points import POINTS_KEPT, TrendLog

#: The name of the points, where those of queues have the queue's.
_NAME = "published-posts"


@dataclass(frozen=True, slots=True)
class PostPoint:
    """The posts that went out within the minute that ended `at`.

    Attributes:
        late_p95, late_max: seconds behind their instants, of 95 in 100 and of the last one; None where none went out.
    """

    at: datetime
    published: int
    late_p95: float | None
    late_max: float | None

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; `at` is RFC 3339 in UTC."""
        return {
            "at": self.at.isoformat(),
            "published": self.published,
            "lateness_seconds_p95": self.late_p95,
            "lateness_seconds_max": self.late_max,
        }


class PostTrendLog:
    """Notes and reads these points. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._log = TrendLog(client, namespace)

    def note(self, point: PostPoint) -> bool:
        """Note a minute; False where that minute, or a later one, is noted.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        facts = {"published": point.published, "late_p95": point.late_p95, "late_max": point.late_max}
        return self._log.note(_NAME, round(point.at.timestamp() * 1_000), facts)

    def read(self, minutes: int) -> Sequence[PostPoint]:
        """The last minutes that were noted, at most a day of them, the oldest first.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        found = [_point(one) for one in self._log.read(_NAME, min(minutes, POINTS_KEPT))]
        if not found:
            return []
        # Minutes in which nothing was noted don't make room for older ones.
        newest = max(point.at for point in found)
        return [point for point in found if (newest - point.at).total_seconds() < minutes * 60]


def _point(found: dict[str, Any]) -> PostPoint:
    at = datetime.fromtimestamp(found["at"] / 1_000, UTC)
    return PostPoint(
        at, int(found.get("published") or 0), _seconds(found.get("late_p95")), _seconds(found.get("late_max"))
    )


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
