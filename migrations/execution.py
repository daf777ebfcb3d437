"""Runs one migration, up or down, and notes it in the same transaction where it has one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from psycopg import sql

from penstock.migrations import records
from penstock.migrations.files import Migration, Script
from penstock.migrations.rights import OWNER, act_as_owner
from penstock.migrations.session import LOCK_TIMEOUT, as_penstock_error, set_lock_timeout, with_retries

#: The first migration makes the roles, so it can't run as one of them; it becomes the owner half-way.
BOOTSTRAP_VERSION = 1

#: Outside a transaction PostgreSQL waits for every older transaction, and holds up nobody while it does.
PATIENT_LOCK_TIMEOUT = timedelta(minutes=1)

_INVALID_INDEXES = """
SELECT c.relname
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'penstock' AND c.relkind = 'i' AND NOT i.indisvalid
"""


def apply(connection: psycopg.Connection, migration: Migration) -> None:
    """Apply `migration`, or apply it again where it was interrupted outside a transaction.

    Raises:
        PenstockError: of the `STORAGE_` family, naming the file, and the line where PostgreSQL tells it.
    """
    with _failures_of(migration.up):
        if migration.up.in_transaction:
            with_retries(migration.label, lambda: _apply_in_transaction(connection, migration))
        else:
            _apply_outside_transaction(connection, migration)


def revert(connection: psycopg.Connection, migration: Migration) -> None:
    """Revert `migration`.

    Raises:
        PenstockError: of the `STORAGE_` family, naming the file, and the line where PostgreSQL tells it.
    """
    with _failures_of(migration.down):
        if migration.down.in_transaction:
            with_retries(migration.label, lambda: _revert_in_transaction(connection, migration))
        else:
            _revert_outside_transaction(connection, migration)


def _apply_in_transaction(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        if migration.version != BOOTSTRAP_VERSION:
            act_as_owner(connection)
            # Where it was begun outside a transaction before, by a file that has since been corrected.
            records.forget(connection, migration.version)
        connection.execute(migration.up.content)
        records.note(connection, migration, "applied")


def _apply_outside_transaction(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        act_as_owner(connection)
        records.forget(connection, migration.version)
        records.note(connection, migration, "started")
    _run_outside_transaction(connection, migration.up)
    with connection.transaction():
        act_as_owner(connection)
        records.mark(connection, migration.version, "applied")


def _revert_in_transaction(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        act_as_owner(connection)
        # Before the script: that of the bootstrap drops the table.
        records.forget(connection, migration.version)
        connection.execute(migration.down.content)


def _revert_outside_transaction(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        act_as_owner(connection)
        records.mark(connection, migration.version, "started")
    _run_outside_transaction(connection, migration.down)
    with connection.transaction():
        act_as_owner(connection)
        records.forget(connection, migration.version)


def _run_outside_transaction(connection: psycopg.Connection, script: Script) -> None:
    def run() -> None:
        # Before every attempt: a failed one leaves an invalid index, which IF NOT EXISTS takes for a good one.
        _drop_invalid_indexes(connection, script)
        connection.execute(script.content)

    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
    set_lock_timeout(connection, PATIENT_LOCK_TIMEOUT)
    try:
        with_retries(script.file_name, run)
    finally:
        if not connection.closed:
            connection.execute("RESET ROLE")
            set_lock_timeout(connection, LOCK_TIMEOUT)


def _drop_invalid_indexes(connection: psycopg.Connection, script: Script) -> None:
    """Drop the invalid indexes that `script` names; others are somebody else's work in progress."""
    for (name,) in connection.execute(_INVALID_INDEXES).fetchall():
        if re.search(rf"\b{re.escape(name)}\b", script.text):
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS penstock.{}").format(sql.Identifier(name)))


@contextmanager
def _failures_of(script: Script) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise as_penstock_error(error, f"{script.file_name}{_line(script, error)}") from error


def _line(script: Script, error: psycopg.Error) -> str:
    position = error.diag.statement_position
    return f", line {script.text.count(chr(10), 0, int(position) - 1) + 1}" if position else ""
