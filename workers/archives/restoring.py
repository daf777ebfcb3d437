"""Puts an archive's rows back: into a table of their own, or where they came from."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql

from penstock.schemas.errors import Code, ConflictError, InvalidInputError
from penstock.workers.archives.archive import ArchiveFolder, Manifest, damaged, verify_archive

#: Rows of one statement.
CHUNK = 1_000

_PARTITION = re.compile(r"(?P<table>submissions|publish_attempts)_y(?P<year>[0-9]{4})m(?P<month>[0-9]{2})\Z")
_TABLES = ("submissions", "publish_attempts", "operator_actions")
_PUT = """
INSERT INTO {target}
SELECT one.* FROM unnest(%s::text[]) AS line, jsonb_populate_record(NULL::{shape}, line::jsonb) AS one
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: rows, of which so many were there already, into which table."""

    table: str
    rows: int
    known: int


def restore_archive(
    connection: psycopg.Connection[Any], folder: ArchiveFolder, manifest: Manifest, *, in_place: bool
) -> Restored:
    """Verify an archive and put its rows back, in the caller's transaction, as `penstock_owner`.

    Args:
        connection: of a login that may act as the owner.
        folder: where the archive is.
        manifest: its own.
        in_place: into the table that they came from; else into `penstock.restored_…`, which nothing of Penstock reads.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where its rows can't go back to their place.
        ConflictError: `STORAGE_CONFLICT` where the table of its own is there already.
        PenstockError: `STORAGE_ARCHIVE_DAMAGED`.
    """
    verify_archive(folder, manifest)
    if manifest.table not in _TABLES:
        raise damaged(manifest.name, "it is of a table that nobody archives")
    shape = sql.Identifier("penstock", manifest.table)
    target = _place(connection, manifest) if in_place else _table_of_its_own(connection, manifest, shape)
    put = sql.SQL(_PUT).format(target=target, shape=shape)
    stored = sum(connection.execute(put, (chunk,)).rowcount for chunk in _chunks(folder.lines(manifest.name)))
    return Restored(target.as_string(connection).replace('"', ""), stored, manifest.rows - stored)


def _place(connection: psycopg.Connection[Any], manifest: Manifest) -> sql.Identifier:
    found = _PARTITION.match(manifest.source)
    if found is None:
        told = f"rows of {manifest.table} don't go back to their place: the chain of the audit has no room for them"
        raise InvalidInputError(Code.REQUEST_USAGE, told, remedy="Restore it into a table of its own.")
    month = f"{found['year']}-{found['month']}-01"
    connection.execute(f"SELECT penstock.ensure_{found['table']}_partition(%s)".encode(), (month,))
    return sql.Identifier("penstock", found["table"])


def _table_of_its_own(connection: psycopg.Connection[Any], manifest: Manifest, shape: sql.Identifier) -> sql.Identifier:
    name = "restored_" + re.sub(r"[^a-z0-9]+", "_", manifest.name.lower())[:54]
    target = sql.Identifier("penstock", name)
    if (connection.execute("SELECT to_regclass(%s)", (f"penstock.{name}",)).fetchone() or (None,))[0] is not None:
        told = f"the table penstock.{name} is there already"
        raise ConflictError(Code.STORAGE_CONFLICT, told, remedy="Drop it, or use what it holds.")
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(target, shape))
    return target


def _chunks(lines: Iterable[bytes]) -> Iterator[list[str]]:
    remaining = iter(lines)
    while chunk := [line.decode() for line in islice(remaining, CHUNK)]:
        yield chunk
