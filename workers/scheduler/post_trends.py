"""The loop that notes each minute how many posts went out, and how late."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import redis
from psycopg_pool import ConnectionPool

from penstock.workers.database.failures import storage_errors
from penstock.workers.posts.outcome import count_published
from penstock.workers.queues.post_points import PostPoint, PostTrendLog
from penstock.workers.telemetry.queries import timed_query

MINUTE = timedelta(minutes=1)
#: A minute is counted so long after its end: what was published in its last moment is committed by then.
SETTLED_AFTER = timedelta(seconds=10)


class PostTrends:
    """Notes a point a minute. Of several schedulers the first one in each minute does.

    Args:
        clock: seconds since 1970. Only the minute hangs on it.
    """

    name = "post_trends"
    interval = timedelta(seconds=5)
    channel = None

    def __init__(
        self,
        pool: "ConnectionPool[psycopg.Connection]",
        client: redis.Redis,
        namespace: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._log = PostTrendLog(client, namespace)
        self._clock = clock
        self._noted = 0

    def run_once(self) -> bool:
        """Note the last minute that is over, unless it is noted.

        Raises:
            PenstockError: of the families `STORAGE_` and `QUEUE_`.
        """
        span = MINUTE.total_seconds()
        minute = int((self._clock() - SETTLED_AFTER.total_seconds()) // span)
        if minute > self._noted:
            end = datetime.fromtimestamp(minute * span, UTC)
            with storage_errors(), self._pool.connection() as connection, timed_query("select", "scheduled_posts"):
                found = count_published(connection, end - MINUTE, end)
            self._log.note(PostPoint(end, found.count, found.late_p95, found.late_max))
            self._noted = minute
        return False
