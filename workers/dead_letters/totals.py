"""How many dead letters there are, from the counts that their groups keep."""

from dataclasses import dataclass
from datetime import timedelta

import psycopg

_TOTALS = """
SELECT (SELECT coalesce(sum(open), 0) FROM penstock.dead_letter_groups),
       (SELECT count(*) FROM (
           SELECT FROM penstock.dead_letters WHERE state = 'open' AND died_at > now() - %(span)s LIMIT %(ceiling)s
       ) AS young)
     + (SELECT count(*) FROM (
           SELECT FROM penstock.dead_letters WHERE state = 'requeued' AND died_at > now() - %(span)s LIMIT %(ceiling)s
       ) AS requeued)
"""

#: Counting more than this says no more.
CEILING = 10_000


@dataclass(frozen=True, slots=True)
class LetterTotals:
    """Open dead letters, and those that died lately and were not discarded (counted up to 10,000 of each state)."""

    open: int
    lately: int


def count_letters(connection: psycopg.Connection, span: timedelta) -> LetterTotals:
    """Count; `span` says what lately is."""
    row = connection.execute(_TOTALS, {"span": span, "ceiling": CEILING}).fetchone()
    is_open, lately = row or (0, 0)
    return LetterTotals(int(is_open), int(lately))
