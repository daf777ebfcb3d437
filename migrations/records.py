"""The table `penstock.schema_migrations`: what was applied, and from which content."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

from penstock.migrations.files import Folder, Migration, label

State = Literal["started", "applied"]

_READ = """
SELECT version, name, up_checksum, down_checksum, state, applied_at
  FROM penstock.schema_migrations ORDER BY version
"""
_NOTE = """
INSERT INTO penstock.schema_migrations (version, name, up_checksum, down_checksum, state, applied_at)
VALUES (%s, %s, %s, %s, %s, now())
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One row: a migration that was applied, or was `started` outside a transaction and did not end."""

    version: int
    name: str
    up_checksum: str
    down_checksum: str
    state: State
    applied_at: datetime

    def differences(self, folder: Folder) -> list[str]:
        """How the files in `folder` differ from what was applied."""
        recorded = {"up": self.up_checksum, "down": self.down_checksum}
        files = {f"{label(self.version, self.name)}.{way}.sql": checksum for way, checksum in recorded.items()}
        missing = [f"{file} is missing" for file in files if file not in folder.scripts]
        changed = [
            f"{file} was changed"
            for file, checksum in files.items()
            if file in folder.scripts and folder.scripts[file].checksum != checksum
        ]
        return missing + changed


def has_records(connection: psycopg.Connection) -> bool:
    """Whether the table is there; asked of the catalogue, which everybody may read."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'penstock' AND c.relname = 'schema_migrations')"
    ).fetchone()
    return bool(row and row[0])


def read_records(connection: psycopg.Connection) -> dict[int, Record]:
    """The rows by version; none where the table is not there yet."""
    if not has_records(connection):
        return {}
    with connection.cursor(row_factory=class_row(Record)) as cursor:
        return {record.version: record for record in cursor.execute(_READ)}


def note(connection: psycopg.Connection, migration: Migration, state: State) -> None:
    """Note that `migration` is applied, or that it is being applied outside a transaction."""
    checksums = (migration.up.checksum, migration.down.checksum)
    connection.execute(_NOTE, (migration.version, migration.name, *checksums, state))


def mark(connection: psycopg.Connection, version: int, state: State) -> None:
    """Change the state of a noted migration."""
    connection.execute(
        "UPDATE penstock.schema_migrations SET state = %s, applied_at = now() WHERE version = %s", (state, version)
    )


def forget(connection: psycopg.Connection, version: int) -> None:
    """Note that a migration is no longer applied."""
    connection.execute("DELETE FROM penstock.schema_migrations WHERE version = %s", (version,))
