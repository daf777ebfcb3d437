"""Old partitions leave: detached, archived, read back, dropped. What a killed process left is taken up again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from penstock.workers.archives.archive import ArchiveFolder, Manifest, verify_archive
from penstock.workers.archives.writing import write_archive
from penstock.workers.database.failures import storage_errors

_log = logging.getLogger(__name__)

LEAVING = "leaving_"
#: The first release that can bound a whole transaction.
_HAS_TRANSACTION_TIMEOUT = 170_000

#: "PENS" and 20. One process at a time archives partitions, so that none clears away what another is writing.
_LOCK = "SELECT pg_try_advisory_xact_lock(1346719315, 20)"
_FIRST_LEAVING = r"""
SELECT relname, oid::bigint FROM pg_class
 WHERE relnamespace = 'penstock'::regnamespace AND relkind = 'r'
   AND relname ~ '^leaving_(submissions|publish_attempts)_y[0-9]{4}m[0-9]{2}$'
 ORDER BY relname LIMIT 1
"""
_DETACH = "SELECT penstock.detach_old_partition(%s, %s)"
_DROP = "SELECT penstock.drop_leaving_partition(%s, %s)"


@dataclass(frozen=True, slots=True)
class Departed:
    """A partition that is archived and dropped."""

    manifest: Manifest


class PartitionArchive:
    """Archives and drops partitions that are too old.

    Args:
        pool: its connections are in autocommit. Not by `Transactions`: to copy a large partition takes longer than any
            other transaction may. Nobody waits for it: the partition is detached.
        folder: of the archives.
        keep_months: how many whole months are kept, by table.
    """

    def __init__(
        self, pool: "ConnectionPool[psycopg.Connection]", folder: ArchiveFolder, keep_months: Mapping[str, int]
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._keep_months = keep_months

    def run_round(self) -> bool:
        """Do one step: archive and drop one partition that leaves, or else detach the next; False where none is left.

        Raises:
            PenstockError: of the family `STORAGE_`. What was not archived, or can't be read back, is not dropped.
        """
        with storage_errors(), self._pool.connection() as connection, connection.transaction():
            _take_time(connection)
            row = connection.execute(_LOCK).fetchone()
            if not (row and row[0]):
                return False
            found = connection.execute(_FIRST_LEAVING).fetchone()
            if found is None:
                return self._detach_next(connection)
            manifest = self._archive(connection, *found)
            connection.execute(_DROP, (found[0], manifest.rows))
        _log.info("archived %d row(s) of %s as %s, and dropped it", manifest.rows, manifest.source, manifest.name)
        return True

    def _detach_next(self, connection: psycopg.Connection[Any]) -> bool:
        for table, months in self._keep_months.items():
            row = connection.execute(_DETACH, (table, months)).fetchone()
            if row and row[0]:
                _log.info("detached %s, which is to be archived", row[0])
                return True
        return False

    def _archive(self, connection: psycopg.Connection[Any], leaving: str, oid: int) -> Manifest:
        """The archive of a partition: the one that was made before its process was killed, or a new one."""
        self._folder.prepare(*self._keep_months)
        made = next((one for one in self._folder.manifests() if (one.source, one.oid) == (_source(leaving), oid)), None)
        if made is not None:
            verify_archive(self._folder, made)
            return made
        rows = sql.SQL("SELECT to_jsonb(one)::text FROM penstock.{} AS one").format(sql.Identifier(leaving))
        source = _source(leaving)
        name = f"{source}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        return write_archive(connection, self._folder, name, rows, (table_of(source), source, oid))


def _take_time(connection: psycopg.Connection[Any]) -> None:
    """Let this transaction take as long as a large partition needs, whatever the server is set to."""
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        names.append("transaction_timeout")
    for name in names:
        connection.execute(f"SET LOCAL {name} = 0".encode())


def table_of(source: str) -> str:
    """The table that a partition is of."""
    return source.rpartition("_y")[0]


def _source(leaving: str) -> str:
    return leaving.removeprefix(LEAVING)
