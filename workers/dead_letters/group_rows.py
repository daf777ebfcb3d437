"""What a list of groups shows beside each of them: how many died when, and who is affected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg_pool import ConnectionPool

from penstock.workers.database.failures import storage_errors

#: Hours of a trend, up to now.
HOURS = 48
#: Subjects of one kind that are counted; beyond it they are "100 or more".
_COUNTED = 100

_TREND = """
SELECT fingerprint,
       (extract(epoch FROM date_trunc('hour', now(), 'UTC') - hour) / 3600)::int AS hours_ago,
       died
  FROM penstock.dead_letter_group_hours
 WHERE fingerprint = ANY(%(fingerprints)s)
   AND hour > date_trunc('hour', now(), 'UTC') - make_interval(hours => %(hours)s)
"""
_AFFECTED = """
SELECT pair.fingerprint, pair.subject, counted.n, counted.first
  FROM (SELECT fingerprint, subject
          FROM unnest(%(fingerprints)s::text[]) AS fingerprint, unnest(%(subjects)s::text[]) AS subject) AS pair,
       LATERAL (SELECT count(*) AS n, min(value) AS first
                  FROM (SELECT value FROM penstock.dead_letter_group_subjects named
                         WHERE named.fingerprint = pair.fingerprint AND named.subject = pair.subject
                         ORDER BY open DESC, total DESC, value LIMIT %(counted)s) AS known) AS counted
 WHERE counted.n > 0
"""
_SUBJECTS = ("form", "account", "platform", "tenant")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """Deaths in each of the last 48 hours, the oldest first, and who is affected, in words."""

    trend: Sequence[int]
    affected: str


class GroupRows:
    """Reads the facts of the groups of one page. Safe to share between threads."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]") -> None:
        self._pool = pool

    def facts(self, fingerprints: Sequence[str]) -> Mapping[str, RowFacts]:
        """The facts by fingerprint.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        if not fingerprints:
            return {}
        parameters = {
            "fingerprints": list(fingerprints),
            "subjects": list(_SUBJECTS),
            "hours": HOURS,
            "counted": _COUNTED,
        }
        with storage_errors(), self._pool.connection() as connection:
            trend = connection.execute(_TREND.encode(), parameters).fetchall()
            affected = connection.execute(_AFFECTED.encode(), parameters).fetchall()
        trends = {fingerprint: [0] * HOURS for fingerprint in fingerprints}
        for fingerprint, hours_ago, died in trend:
            # An hour of the future is one by a clock that is ahead of the database's.
            trends[fingerprint][HOURS - 1 - max(0, hours_ago)] = died
        words: dict[str, list[str]] = {}
        for fingerprint, subject, n, first in sorted(affected, key=lambda row: _SUBJECTS.index(row[1])):
            words.setdefault(fingerprint, []).append(_told(subject, n, first))
        return {name: RowFacts(trends[name], ", ".join(words.get(name, []))) for name in fingerprints}


def _told(subject: str, n: int, first: str) -> str:
    if n == 1:
        return f"{subject} {first}"
    return f"{n} {subject}s" if n < _COUNTED else f"{n} {subject}s or more"
