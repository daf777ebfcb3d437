"""The loops that let old rows go: actions of operators, ended replays, partitions that are archived first."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg_pool import ConnectionPool

from penstock.workers.archives.archive import ArchiveFolder
from penstock.workers.archives.partitions import PartitionArchive
from penstock.workers.audit.keys import AuditKeys
from penstock.workers.audit.retention import AuditRetention
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.scheduler.audit_sealing import AuditSealing
from penstock.workers.scheduler.loop import Loop
from penstock.workers.settings import WorkerSettings
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

ROUND_ROWS = 1_000

_DELETE_REPLAYS = "SELECT penstock.delete_ended_replays(%s, %s)"


class OldActions:
    """Drops actions of operators in rounds, so that no transaction is long."""

    name = "audit_retention"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(self, retention: AuditRetention) -> None:
        self._retention = retention

    def run_once(self) -> bool:
        """Drop a round; True where there may be more.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._retention.run_round()


class OldReplays:
    """Deletes replays that ended long ago and whose letters are forgotten."""

    name = "replays_retention"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(
        self, transactions: Transactions, keep: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transactions = transactions
        self._keep = keep
        self._clock = clock

    def run_once(self) -> bool:
        """Delete up to 1,000; True where there may be more.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        deleted = self._transactions.run(self._delete)
        if deleted:
            _log.info("%d replay(s) ended over %s ago and are deleted", deleted, self._keep)
        return deleted == ROUND_ROWS

    def _delete(self, transaction: Transaction) -> int:
        with timed_query("delete", "replays"):
            row = transaction.connection.execute(_DELETE_REPLAYS, (self._clock() - self._keep, ROUND_ROWS)).fetchone()
        return int(row[0]) if row else 0


class OldPartitions:
    """Archives and drops partitions that are too old, one step at a time."""

    name = "archives"
    interval = timedelta(minutes=10)
    channel = None

    def __init__(self, partitions: PartitionArchive) -> None:
        self._partitions = partitions

    def run_once(self) -> bool:
        """Do a step; True where there may be another one.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._partitions.run_round()


def retention_loops(
    settings: WorkerSettings, pool: "ConnectionPool[psycopg.Connection]", transactions: Transactions
) -> list[Loop]:
    """The loops that the settings ask for, and the one that seals the audit.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where PENSTOCK_AUDIT_KEYS are no keys.
    """
    loops: list[Loop] = [AuditSealing(transactions, AuditKeys.from_setting(settings.audit_keys))]
    folder = None if settings.archive_dir is None else ArchiveFolder(settings.archive_dir)
    if settings.audit_retention_days:
        keep = timedelta(days=settings.audit_retention_days)
        loops.append(OldActions(AuditRetention(transactions, keep, folder)))
    if settings.replays_retention_days:
        loops.append(OldReplays(transactions, timedelta(days=settings.replays_retention_days)))
    if folder is not None:
        keep_months = {"publish_attempts": settings.publish_attempts_months}
        if settings.submissions_retention_months:
            keep_months["submissions"] = settings.submissions_retention_months
        loops.append(OldPartitions(PartitionArchive(pool, folder, keep_months)))
    return loops
