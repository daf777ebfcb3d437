"""How many posts went out within a span, and how late."""

from dataclasses import dataclass
from datetime import datetime

import psycopg

# A platform may say of an earlier try that it was live before its instant: that is not late, and not early either.
_PUBLISHED = """
SELECT count(*), percentile_disc(0.95) WITHIN GROUP (ORDER BY late), max(late)
  FROM (
    SELECT greatest(extract(epoch FROM published_at - due_at), 0)::double precision AS late
      FROM penstock.scheduled_posts
     WHERE state = 'published' AND published_at >= %(start)s AND published_at < %(end)s
  ) AS went_out
"""


@dataclass(frozen=True, slots=True)
class PublishedPosts:
    """Posts that went out. Lateness in seconds, of 95 in 100 and of the last one; None where none went out."""

    count: int
    late_p95: float | None
    late_max: float | None


def count_published(connection: psycopg.Connection, start: datetime, end: datetime) -> PublishedPosts:
    """Count the posts that were published from `start` until `end` (aware).

    Raises:
        psycopg.Error: as any statement.
    """
    row = connection.execute(_PUBLISHED, {"start": start, "end": end}).fetchone()
    count, late_p95, late_max = row or (0, None, None)
    return PublishedPosts(int(count), late_p95, late_max)
