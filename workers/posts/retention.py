"""How long posts are kept that ended. Others, and those of which a dead letter is open, are kept for ever."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

ROUND_ROWS = 1_000

_DELETE = "SELECT penstock.delete_ended_posts(%s, %s)"


class PostsRetention:
    """Deletes posts that were published, cancelled, expired or given up long ago.

    Args:
        keep: after the end; 30 days at the least, which the database sees to as well.
        clock: now, aware.
    """

    def __init__(
        self, transactions: Transactions, keep: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transactions = transactions
        self._keep = keep
        self._clock = clock

    def run_round(self) -> int:
        """Delete up to 1,000 posts; returns how many.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        deleted = self._transactions.run(self._delete)
        if deleted:
            _log.info("%d post(s) ended over %s ago and are deleted", deleted, self._keep)
        return deleted

    def _delete(self, transaction: Transaction) -> int:
        with timed_query("delete", "scheduled_posts"):
            row = transaction.connection.execute(_DELETE, (self._clock() - self._keep, ROUND_ROWS)).fetchone()
        return int(row[0]) if row else 0
