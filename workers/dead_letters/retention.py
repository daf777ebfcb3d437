"""How long resolved dead letters are kept. Open ones, and those whose job still waits, are kept for ever."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

ROUND_ROWS = 1_000

_DELETE = "SELECT penstock.delete_resolved_letters(%s, %s)"


class Retention:
    """Deletes letters that were resolved long ago: discarded, or requeued with a known outcome.

    Args:
        keep: after the decision; a day at the least.
        clock: now, aware.
    """

    def __init__(
        self, transactions: Transactions, keep: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transactions = transactions
        self._keep = keep
        self._clock = clock

    def run_round(self) -> int:
        """Delete up to 1,000 letters; returns how many.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        deleted = self._transactions.run(self._delete)
        if deleted:
            _log.info("%d resolved dead letter(s) were older than %s and are deleted", deleted, self._keep)
        return deleted

    def _delete(self, transaction: Transaction) -> int:
        with timed_query("delete", "dead_letters"):
            row = transaction.connection.execute(_DELETE, (self._clock() - self._keep, ROUND_ROWS)).fetchone()
        return int(row[0]) if row else 0
