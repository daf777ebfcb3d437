"""Restoring a backup into an empty database, in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from penstock.migrations.session import connect
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.comparing import MAJOR, Comparison, compare
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.manifest import Manifest
from penstock.workers.backup.reading import feed
from penstock.workers.backup.roles import make_roles
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Store
from penstock.workers.backup.tools import APPLICATION, find_tools, run_tool
from penstock.workers.database.failures import storage_errors

# Whatever a restored backup could meet or be mixed with.
_OCCUPANTS = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e')
 UNION ALL SELECT nspname FROM pg_namespace
 WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """How a restored database compares, and the logins that were made without a password."""

    comparison: Comparison
    new_logins: list[str]


def restore_backup(settings: BackupSettings, keys: BackupKeys, manifest: Manifest, url: str) -> Restored:
    """Restore into the database of that URL, which must be empty, and compare.

    Where it raises, the database is as empty as before; roles that were made stay.

    Raises:
        PenstockError: of the family `STORAGE_`.
    """
    with target(url) as connection:
        _require_fit(connection, manifest)
        new_logins = make_roles(connection, manifest.content)
        # The archive's format must be known, and what is sent must be understood by the server.
        major = max(manifest.tool, connection.info.server_version // MAJOR)
        arguments = ["--single-transaction", "--exit-on-error"]
        with run_tool(find_tools(major, settings.tools), "pg_restore", arguments, url) as restore:
            feed(Store(settings.folder, keys), keys, manifest, restore)
        connection.execute("ANALYZE")
        return Restored(compare(connection, manifest), new_logins)


@contextmanager
def target(url: str) -> Iterator[psycopg.Connection]:
    """A connection to a database that a backup is restored into, or was.

    Raises:
        PenstockError: of the family `STORAGE_`, or `CONFIG_INVALID`.
    """
    with storage_errors(), connect(make_conninfo(url, application_name=APPLICATION)) as connection:
        yield connection


def _require_fit(connection: psycopg.Connection, manifest: Manifest) -> None:
    server, source = connection.info.server_version // MAJOR, manifest.server // MAJOR
    if server < max(source, manifest.tool):
        raise PenstockError(
            Code.STORAGE_BACKUP_TARGET_REFUSED,
            f"the backup is of PostgreSQL {source}, by pg_dump {manifest.tool}, and the target is PostgreSQL {server}",
        )
    row = connection.execute(_OCCUPANTS.encode()).fetchone()
    if row is not None:
        raise PenstockError(
            Code.STORAGE_BACKUP_TARGET_REFUSED,
            f"the database {connection.info.dbname} is not empty: it has {row[0]}, for one",
        )
