"""Monthly partitions of `submissions`: ahead of time, and on demand before a batch that needs one."""

import datetime as dt
import logging
import threading
from collections.abc import Iterable

import psycopg
import tenacity
from psycopg_pool import ConnectionPool

from penstock.workers.database.failures import CONFLICTS, storage_errors

_log = logging.getLogger(__name__)


class Partitions:
    """Knows which months have a partition, and makes the missing ones. Safe to share between threads."""

    def __init__(self, pool: "ConnectionPool[psycopg.Connection]") -> None:
        self._pool = pool
        self._known: set[dt.date] = set()
        self._lock = threading.Lock()

    def ensure(self, months: Iterable[dt.date]) -> None:
        """See that each of `months` (first days) has a partition.

        Without one a row is not refused: it goes to the default partition, which is an alarm and a slower path.
        So where making one keeps failing for a lock's sake, that is told and the work goes on.

        Raises:
            PenstockError: of the `STORAGE_` family.
        """
        missing = set(months) - self._known
        if not missing:
            return
        with self._lock, storage_errors():
            for month in sorted(missing - self._known):
                self._make(month)

    def ensure_ahead(self, months_ahead: int = 3) -> int:
        """See to the partitions of this month and the next ones; returns how many were made.

        Raises:
            PenstockError: of the `STORAGE_` family.
        """
        with storage_errors(), self._pool.connection() as connection:
            row = connection.execute("SELECT penstock.ensure_submissions_partitions(%s)", (months_ahead,)).fetchone()
        return int(row[0]) if row else 0

    def _make(self, month: dt.date) -> None:
        try:
            made = self._call(month)
        except psycopg.OperationalError as error:
            if error.sqlstate not in CONFLICTS:
                raise
            _log.warning("no partition for %s could be made now: the table is locked", month.isoformat()[:7])
            return
        self._known.add(month)
        if made:
            _log.info("made the partition for %s", month.isoformat()[:7])

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
        retry=tenacity.retry_if_exception(lambda error: getattr(error, "sqlstate", None) in CONFLICTS),
        reraise=True,
    )
    def _call(self, month: dt.date) -> bool:
        with self._pool.connection() as connection:
            row = connection.execute("SELECT penstock.ensure_submissions_partition(%s)", (month,)).fetchone()
        return bool(row and row[0])
