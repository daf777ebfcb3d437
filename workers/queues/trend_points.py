"""How queues stood at each minute of the last day, in Redis: `<namespace>:{trends}:<queue>`, a list of points.

A point holds counters since the queue began, and not what a minute brought: minutes that nobody noted make a gap, and
no false figure.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts

#: Whose folder `lua/` holds the step.
TREND_STEPS = "penstock.workers.queues"
#: A day, and the point before its first minute.
POINTS_KEPT = 24 * 60 + 1


class TrendLog:
    """Notes and reads points. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._scripts = Scripts(client, TREND_STEPS)
        self._keys = QueueKeys(namespace, "trends")

    def note(self, queue: str, minute: int, point: Mapping[str, Any]) -> bool:
        """Note how a queue stood at a minute (ms since 1970); False where that minute, or a later one, is noted.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        encoded = json.dumps({"at": minute, **point}, separators=(",", ":"))
        with redis_errors("noting a trend"):
            return bool(self._scripts.run("trend", self._keys, queue, minute, encoded, POINTS_KEPT))

    def read(self, queue: str, count: int) -> list[dict[str, Any]]:
        """The last points of a queue, the oldest first; what can't be read is left out.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("reading trends"):
            found = cast("list[bytes]", self._client.lrange(self._keys.key(queue), -count, -1))
        return [point for point in map(_decoded, found) if point is not None]


def _decoded(text: bytes) -> dict[str, Any] | None:
    try:
        point = json.loads(text)
    except ValueError:
        return None
    return point if isinstance(point, dict) and isinstance(point.get("at"), int) else None
