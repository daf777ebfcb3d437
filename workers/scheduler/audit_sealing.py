"""The loop that seals what operators did, so that nobody can change it unseen. docs/audit.md tells how."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import UnavailableError
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.retention import SOFTWARE
from penstock.workers.audit.sealing import seal_actions
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transaction, Transactions

_log = logging.getLogger(__name__)


class AuditSealing:
    """Makes a seal where actions wait. Any number of schedulers may: one at a time seals, and the others go by.

    It also records for how long PostgreSQL was away, as it saw it: nobody could record that meanwhile.

    Args:
        keys: of the seals.
        clock: now, aware.
    """

    name = "audit_seals"
    interval = timedelta(seconds=5)
    channel = None

    def __init__(
        self, transactions: Transactions, keys: AuditKeys, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._clock = clock
        self._away_since: datetime | None = None

    def run_once(self) -> bool:
        """Seal up to 1,000 actions; True where more wait.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        began = self._clock()
        try:
            if self._away_since is not None:
                self._transactions.run(self._record_outage)
                self._away_since = None
            sealed = self._transactions.run(lambda transaction: seal_actions(transaction.connection, self._keys))
        except UnavailableError:
            self._away_since = self._away_since or began
            raise
        if sealed is None:
            return False
        # A log that is kept elsewhere is where an anchor is safe from who can write the database.
        _log.info("the audit is sealed with %d action(s) more; anchor %s", sealed.seal.actions, sealed.seal.anchor)
        return sealed.more

    def _record_outage(self, transaction: Transaction) -> None:
        since, until = self._away_since or self._clock(), self._clock()
        details = {
            "since": since.isoformat(),
            "until": until.isoformat(),
            "seconds": round((until - since).total_seconds(), 1),
        }
        entry = audit_entry(SOFTWARE, "database.outage", "postgresql", "as a scheduler saw it", details)
        record_actions(transaction.connection, [entry])
