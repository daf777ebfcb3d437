"""How many posts are scheduled when: by day or hour (UTC), state and platform."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.scheduled_post import PostState
from penstock.workers.database.failures import storage_errors
from penstock.workers.telemetry.queries import timed_query


class Bucket(StrEnum):
    """What posts are counted by."""

    HOUR = "hour"
    DAY = "day"


#: The longest span of one calendar. What it costs grows with the posts of the span, and not with all that there are.
LONGEST: dict[Bucket, timedelta] = {Bucket.HOUR: timedelta(days=8), Bucket.DAY: timedelta(days=62)}

# Of each state, so that the index by state serves; none of the columns makes it look into the table.
_COUNT = """
SELECT date_trunc(%(bucket)s, due_at, 'UTC') AS at, state, platform, count(*) AS count
  FROM penstock.scheduled_posts
 WHERE state = ANY(%(states)s) AND due_at >= %(start)s AND due_at < %(end)s
   AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(platform)s::text IS NULL OR platform = %(platform)s)
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """Posts of one state and platform whose instants are within an hour or day that begins at `at`."""

    at: datetime
    state: str
    platform: str
    count: int

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"at": self.at.isoformat(), "state": self.state, "platform": self.platform, "count": self.count}


class PostCalendar:
    """Counts posts. Safe to share between threads."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]") -> None:
        self._pool = pool

    def count(
        self,
        start: datetime,
        end: datetime,
        bucket: Bucket,
        *,
        tenant: str | None = None,
        platform: str | None = None,
    ) -> Sequence[Planned]:
        """The counts of posts that are due from `start` until `end` (aware), earliest first; zeros are left out.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` where the span is none, or longer than a calendar may be.
            PenstockError: of the family `STORAGE_`.
        """
        if not timedelta(0) < end - start <= LONGEST[bucket]:
            told = f"from and to: they are up to {LONGEST[bucket].days} days apart by {bucket}, the earlier one first"
            raise InvalidInputError(Code.REQUEST_FILTER_INVALID, told, details={"parameter": "to"})
        parameters = {"bucket": str(bucket), "start": start, "end": end, "tenant": tenant, "platform": platform}
        parameters["states"] = [str(state) for state in PostState]
        with storage_errors(), self._pool.connection() as connection, timed_query("select", "scheduled_posts"):
            reader = connection.cursor(row_factory=class_row(Planned))
            return reader.execute(_COUNT, parameters, prepare=False).fetchall()
