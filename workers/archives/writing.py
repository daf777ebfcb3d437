"""Writes what a query finds into an archive, and reads it back."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psycopg
from psycopg import sql

from penstock.workers.archives.archive import ArchiveFolder, Manifest, verify_archive

# No text of JSON holds these two characters, nor a line end: so each row is a line, and the line is JSON as it stands.
_COPY = "COPY ({}) TO STDOUT (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')"


def write_archive(
    connection: psycopg.Connection[Any],
    folder: ArchiveFolder,
    name: str,
    rows: sql.Composable,
    source: tuple[str, str, int],
    parameters: Sequence[object] = (),
) -> Manifest:
    """Write the rows that a query finds, see that they are on the disk as they were given, and note what it holds.

    Args:
        connection: within the transaction of whatever drops the rows afterwards.
        folder: prepared.
        name: of the archive; one of the same name is replaced.
        rows: a query with one column, a row as text of `jsonb`.
        source: the manifest's `table`, `source` and `oid`.
        parameters: of the query.

    Raises:
        PenstockError: `STORAGE_ARCHIVE_FAILED`, `STORAGE_ARCHIVE_DAMAGED`.
        psycopg.Error: of the query.
    """
    connection.execute("SET LOCAL timezone = 'UTC'")
    written = folder.write(name, _pieces(connection, rows, parameters))
    table, taken_from, oid = source
    manifest = Manifest(
        name=name,
        table=table,
        source=taken_from,
        oid=oid,
        rows=written.rows,
        size=written.size,
        sha256=written.sha256,
        content_sha256=written.content_sha256,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        release=version("penstock"),
    )
    verify_archive(folder, manifest)
    folder.finish(manifest)
    return manifest


def _pieces(connection: psycopg.Connection[Any], rows: sql.Composable, parameters: Sequence[object]) -> Iterator[bytes]:
    with connection.cursor() as cursor, cursor.copy(sql.SQL(_COPY).format(rows), tuple(parameters)) as copy:
        for piece in copy:
            yield bytes(piece)
