"""`Migrator`: brings a database's schema up or down; and the check that a worker makes at its start."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import tuple_row

from penstock.migrations import execution
from penstock.migrations.files import FOLDER, Folder, read_folder
from penstock.migrations.grants import require_granted
from penstock.migrations.records import Record, has_records, read_records
from penstock.migrations.rights import act_as_owner, may_act_as_owner, require_rights
from penstock.migrations.session import as_penstock_error, connect, database_errors, migration_lock, with_retries
from penstock.schemas.errors import Code, PenstockError

_log = logging.getLogger(__name__)

MigrationState = Literal["pending", "applied", "started", "changed", "missing_file"]

#: Below the migration that makes a function there is nothing to do.
_MAKE_PARTITIONS = """
DO $$
BEGIN
    IF to_regprocedure('penstock.ensure_submissions_partitions(integer)') IS NOT NULL THEN
        PERFORM penstock.ensure_submissions_partitions();
    END IF;
    IF to_regprocedure('penstock.ensure_publish_attempts_partitions(integer)') IS NOT NULL THEN
        PERFORM penstock.ensure_publish_attempts_partitions();
    END IF;
END
$$
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that a run applied."""

    version: int
    name: str


@dataclass(frozen=True, slots=True)
class Reverted:
    """A migration that a run reverted."""

    version: int
    name: str


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where one migration stands.

    `started`: it runs outside a transaction, and was interrupted or is running now. `changed`: its files differ from
    what was applied. `missing_file`: it was applied, by a newer release or from files that are gone.
    """

    version: int
    name: str
    state: MigrationState
    applied_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The status as commands show it."""
        at = None if self.applied_at is None else self.applied_at.isoformat()
        return {"version": self.version, "name": self.name, "state": self.state, "applied_at": at}


class Migrator:
    """Applies, reverts and checks the migrations of one database.

    Args:
        database_url: a direct connection (no pooler in transaction mode) as a role that may migrate.
        folder: where the migration files are; this release's own unless given.
        lock_wait: how long to wait for another process that migrates the same database.
    """

    def __init__(
        self, database_url: str, folder: Path = FOLDER, *, lock_wait: timedelta = timedelta(minutes=1)
    ) -> None:
        self._database_url = database_url
        self._folder = folder
        self._lock_wait = lock_wait

    def up(self, target: int | None = None) -> list[Applied]:
        """Apply what is pending, in order, up to and with version `target`; finish what was interrupted.

        What a newer release applied is let be, so that `up` of an older one does nothing. Afterwards the coming
        months' partitions are there.

        Raises:
            PenstockError: of the `STORAGE_` family. What was applied before the failure stays.
        """
        folder = read_folder(self._folder)
        folder.require_sound()
        with self._locked() as connection:
            known = _own_records(connection)
            done = {version: record for version, record in known.items() if record.state == "applied"}
            # What is only started runs again anyway, perhaps from a corrected file.
            _require_unchanged([record for record in done.values() if record.version <= folder.latest], folder)
            limit = folder.latest if target is None else target
            applied = []
            for version in sorted(folder.migrations.keys() - done.keys()):
                if version <= limit:
                    migration = folder.migrations[version]
                    execution.apply(connection, migration)
                    _log.info("applied %s", migration.label)
                    applied.append(Applied(version, migration.name))
            _make_partitions(connection)
        return applied

    def down(self, target: int) -> list[Reverted]:
        """Revert everything above version `target`, the newest first; 0 leaves nothing but the cluster's roles.

        Raises:
            PenstockError: of the `STORAGE_` family. What was reverted before the failure stays reverted.
        """
        folder = read_folder(self._folder)
        folder.require_sound()
        with self._locked() as connection:
            known = _own_records(connection)
            above = sorted((version for version in known if version > target), reverse=True)
            _require_unchanged([known[version] for version in above], folder)
            reverted = []
            for version in above:
                migration = folder.migrations[version]
                execution.revert(connection, migration)
                _log.info("reverted %s", migration.label)
                reverted.append(Reverted(version, migration.name))
        return reverted

    def status(self) -> list[MigrationStatus]:
        """Each migration that is in the folder or was applied, by version.

        Raises:
            PenstockError: `STORAGE_UNAVAILABLE` or `STORAGE_PERMISSION_DENIED`.
        """
        folder = read_folder(self._folder)
        with self._connected() as connection:
            known = _records(connection)
        return [_status(version, folder, known.get(version)) for version in sorted(folder.migrations.keys() | known)]

    def verify(self) -> None:
        """See that the files are, byte for byte, what was applied, and that every applied migration has its files.

        Where all of this release are applied, the roles' rights must be those that they give, too.

        Raises:
            PenstockError: `STORAGE_MIGRATION_CHANGED`, naming each file that is changed or missing,
                `STORAGE_MIGRATION_INVALID` for files that were not applied and can't be, or
                `STORAGE_RIGHTS_DIFFER`, naming each right that is missing or should not be.
        """
        folder = read_folder(self._folder)
        with self._connected() as connection:
            known = _records(connection)
            _require_unchanged(list(known.values()), folder)
            folder.require_sound()
            is_complete = all(record.state == "applied" for record in known.values())
            if self._folder == FOLDER and known.keys() == folder.migrations.keys() and is_complete:
                require_granted(connection)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with connect(self._database_url) as connection, database_errors():
            yield connection

    @contextmanager
    def _locked(self) -> Iterator[psycopg.Connection]:
        with self._connected() as connection, migration_lock(connection, self._lock_wait):
            yield connection


def require_current(connection: psycopg.Connection) -> None:
    """See that the schema has every migration of this release.

    A newer schema is accepted: in a rolling deploy it is migrated first, and workers of the release before go on.
    So a migration must leave what the release before it uses. Needs SELECT on `penstock.schema_migrations`, which
    `penstock_worker` and `penstock_reader` have.

    Raises:
        PenstockError: `STORAGE_SCHEMA_OUTDATED`, `STORAGE_MIGRATION_INCOMPLETE`, `STORAGE_PERMISSION_DENIED` or
            `STORAGE_UNAVAILABLE`.
    """
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute("SELECT version, state FROM penstock.schema_migrations")
            states: dict[int, str] = dict(cursor.fetchall())
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        states = {}
    except psycopg.Error as error:
        raise as_penstock_error(error, "reading the schema's version") from error
    needed = _release_versions()
    missing = [version for version in needed if version not in states]
    if missing:
        raise PenstockError(
            Code.STORAGE_SCHEMA_OUTDATED,
            f"the database's schema lacks {len(missing)} of {len(needed)} migrations, {missing[0]:04d} first",
        )
    started = [version for version in needed if states[version] != "applied"]
    if started:
        raise PenstockError(
            Code.STORAGE_MIGRATION_INCOMPLETE, f"migration {started[0]:04d} was started and has not ended"
        )


@cache
def _release_versions() -> tuple[int, ...]:
    return tuple(sorted(read_folder(FOLDER).migrations))


def _own_records(connection: psycopg.Connection) -> dict[int, Record]:
    """The records for a run that changes something: checks before that the login may."""
    require_rights(connection, bootstrapped=has_records(connection))
    return _records(connection)


def _records(connection: psycopg.Connection) -> dict[int, Record]:
    """The records, read with the owner's rights where the login has them but does not inherit them."""
    with connection.transaction():
        if may_act_as_owner(connection):
            act_as_owner(connection)
        return read_records(connection)


def _make_partitions(connection: psycopg.Connection) -> None:
    def make() -> None:
        with connection.transaction():
            act_as_owner(connection)
            connection.execute(_MAKE_PARTITIONS)

    if has_records(connection):
        with_retries("partitions of the coming months", make)


def _require_unchanged(known: list[Record], folder: Folder) -> None:
    differences = [difference for record in known for difference in record.differences(folder)]
    if differences:
        raise PenstockError(
            Code.STORAGE_MIGRATION_CHANGED, "; ".join(differences), details={"differences": differences}
        )


def _status(version: int, folder: Folder, record: Record | None) -> MigrationStatus:
    if record is None:
        return MigrationStatus(version, folder.migrations[version].name, "pending", None)
    return MigrationStatus(version, record.name, _state(folder, record), record.applied_at)


def _state(folder: Folder, record: Record) -> MigrationState:
    migration = folder.migrations.get(record.version)
    if migration is None or migration.name != record.name:
        return "missing_file"
    if record.state == "started":
        return "started"
    return "changed" if record.differences(folder) else "applied"
