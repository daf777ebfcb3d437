"""How many jobs of the outbox wait for a scheduler to relay them."""

from dataclasses import dataclass
from datetime import timedelta

import psycopg

#: Counting more than this says no more.
CEILING = 10_000

_WAITING = """
SELECT (SELECT count(*) FROM (
           SELECT FROM penstock.outbox WHERE state = 'waiting' AND checked_at IS NULL AND run_at IS NULL LIMIT %s
       ) AS waiting),
       (SELECT now() - created_at FROM penstock.outbox
         WHERE state = 'waiting' AND checked_at IS NULL AND run_at IS NULL ORDER BY id LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """Jobs that could be relayed now (counted up to 10,000), and how long the oldest has waited."""

    waiting: int
    oldest: timedelta


def count_backlog(connection: psycopg.Connection) -> OutboxBacklog:
    """Count; walks one small index."""
    row = connection.execute(_WAITING, (CEILING,)).fetchone()
    waiting, oldest = row or (0, None)
    return OutboxBacklog(int(waiting), oldest or timedelta(0))
