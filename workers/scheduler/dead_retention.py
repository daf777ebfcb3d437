"""The loop that deletes dead letters which were resolved long ago."""

from datetime import timedelta

from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.retention import ROUND_ROWS, Retention


class DeadRetention:
    """Deletes in rounds, so that no transaction is long."""

    name = "dead_retention"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(self, transactions: Transactions, keep: timedelta) -> None:
        self._retention = Retention(transactions, keep)

    def run_once(self) -> bool:
        """Delete a round; True where there are more.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._retention.run_round() == ROUND_ROWS
