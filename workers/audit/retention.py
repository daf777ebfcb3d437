"""How long what operators did is kept.

Whole seals leave, the oldest first. The last one that left stays, without its actions, so that the chain still shows
what it begins after.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from penstock.producers.queue.audit import audit_entry
from penstock.workers.archives.archive import ArchiveFolder
from penstock.workers.archives.writing import write_archive
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

#: Who is named where nobody but the software did it.
SOFTWARE = "penstock"
ROUND_ACTIONS = 5_000

#: "PENS" and 21. One process at a time; it goes on until nothing is left, so that the others need not wait.
_LOCK = "SELECT pg_try_advisory_xact_lock(1346719315, 21)"
# The newest seal stays whatever its age: the next one follows it.
_OLD = f"""
SELECT min(number), max(number) FROM (
    SELECT number, sum(actions) OVER (ORDER BY number) AS running
      FROM penstock.audit_seals
     WHERE left_at IS NULL
       AND number < (SELECT max(number) FROM penstock.audit_seals)
       AND number < coalesce((SELECT min(number) FROM penstock.audit_seals WHERE sealed_at >= %(before)s),
                             9223372036854775807)
     ORDER BY number LIMIT 1000
) AS old WHERE running <= {ROUND_ACTIONS}
"""
_ROWS = """
SELECT (to_jsonb(one) || jsonb_build_object('seal', seal, 'position', position))::text
  FROM penstock.audit_sealed_actions JOIN penstock.operator_actions one USING (action_id)
 WHERE seal <= %s ORDER BY seal, position
"""
_DROP = "SELECT penstock.drop_sealed_actions(%s, %s)"
_DIGEST = "SELECT encode(digest, 'hex') FROM penstock.audit_seals WHERE number = %s"


@dataclass(frozen=True, slots=True)
class _Left:
    """What a round let go: seals from `first` to `through`, and their actions."""

    first: int
    through: int
    actions: int


class AuditRetention:
    """Drops actions that were sealed long ago, archived first where there is a folder for it.

    Args:
        keep: after the seal; a year at the least, which the database sees to as well.
        folder: of the archives; None to drop them unarchived.
        clock: now, aware.
    """

    def __init__(
        self,
        transactions: Transactions,
        keep: timedelta,
        folder: ArchiveFolder | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transactions = transactions
        self._keep = keep
        self._folder = folder
        self._clock = clock

    def run_round(self) -> bool:
        """Drop up to 5,000 actions; True where it dropped a seal. That it did is an action itself.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        left = self._transactions.run(self._drop)
        if left is None:
            return False
        _log.info("the audit's seals %d to %d left, with %d action(s)", left.first, left.through, left.actions)
        return True

    def _drop(self, transaction: Transaction) -> _Left | None:
        connection, before = transaction.connection, self._clock() - self._keep
        row = connection.execute(_LOCK).fetchone()
        if not (row and row[0]):
            return None
        first, through = connection.execute(_OLD.encode(), {"before": before}).fetchone() or (None, None)
        if through is None:
            return None
        archived = None if self._folder is None else self._archive(connection, self._folder, first, through)
        with timed_query("delete", "operator_actions"):
            (actions,) = connection.execute(_DROP, (through, before)).fetchone() or (0,)
        (digest,) = connection.execute(_DIGEST, (through,)).fetchone() or ("",)
        details = {"first": first, "through": through, "actions": actions, "digest": digest, "archive": archived}
        told = f"kept for {self._keep.days} days"
        record_actions(connection, [audit_entry(SOFTWARE, "audit.retention", "operator_actions", told, details)])
        return _Left(first, through, int(actions))

    def _archive(self, connection: psycopg.Connection, folder: ArchiveFolder, first: int, through: int) -> str:
        folder.prepare("operator_actions")
        name = f"operator_actions-{first}-{through}"
        source = ("operator_actions", "operator_actions", 0)
        return write_archive(connection, folder, name, sql.SQL(_ROWS), source, (through,)).name
