"""Making a backup: a dump and a measuring of one snapshot at once, then a reading of what was written."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import IO

import psycopg
import zstandard
from psycopg.conninfo import make_conninfo

from penstock.migrations.session import connect
from penstock.schemas.errors import Code, PenstockError
from penstock.workers.backup.comparing import MAJOR
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.manifest import Content, Manifest
from penstock.workers.backup.measuring import lock_tables, measure
from penstock.workers.backup.reading import proofread
from penstock.workers.backup.sealing import SealedWriter
from penstock.workers.backup.settings import BackupSettings
from penstock.workers.backup.store import Store, new_name
from penstock.workers.backup.tools import APPLICATION, Tools, find_tools, run_tool
from penstock.workers.database.failures import storage_errors

#: Read from pg_dump at once, in bytes.
PIECE = 256 * 1024
#: A lock that pg_dump can't have by then: somebody who wants more waits for us, and we must not wait for him.
_LOCK_WAIT = "60s"

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that other sessions can use while its connection's transaction lasts."""

    connection: psycopg.Connection
    id: str


@dataclass(frozen=True, slots=True)
class Created:
    """A backup that was made, and the names of those that were removed for their age."""

    manifest: Manifest
    removed: list[str]


def create_backup(
    settings: BackupSettings, keys: BackupKeys, label: str, clock: Clock = lambda: datetime.now(UTC)
) -> Created:
    """Back up the database, read the file back, and only then remove old backups.

    Raises:
        PenstockError: of the family `STORAGE_`; nothing of the backup is left then.
    """
    store = Store(settings.folder, keys)
    with store.locked():
        manifest, tools = _write_dump(settings, keys, store, label, clock())
        try:
            # From the file under its name: a backup is good when it can be read, not when it was written.
            proofread(store, keys, manifest, tools)
        except BaseException:
            store.discard_dump(manifest.name)
            raise
        store.write(manifest.name, "manifest", manifest.seal(keys))
        return Created(manifest, store.remove_old(settings.keep, clock()))


def _write_dump(
    settings: BackupSettings, keys: BackupKeys, store: Store, label: str, now: datetime
) -> tuple[Manifest, Tools]:
    """Write the dump's file, and tell what is in it."""
    name = new_name(now)
    with _exported_snapshot(settings.source_url) as snapshot, store.writing(name, "dump") as file:
        server = snapshot.connection.info.server_version
        tools = find_tools(server // MAJOR, settings.tools)
        sealed = SealedWriter(file, keys, name)
        with _measured_meanwhile(snapshot) as measured:
            _dump(tools, settings.source_url, snapshot, sealed, measured)
        manifest = Manifest(
            name=name,
            created_at=now,
            label=label,
            database=snapshot.connection.info.dbname,
            server=server,
            tool=tools.major,
            release=version("penstock"),
            size=sealed.count,
            sha256=sealed.sha256,
            content=measured.result(),
        )
    return manifest, tools


@contextmanager
def _exported_snapshot(url: str) -> Iterator[Snapshot]:
    """What pg_dump and the measuring both see. Every table keeps its definition until the block ends."""
    with (
        storage_errors(),
        connect(make_conninfo(url, application_name=APPLICATION)) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        lock_tables(connection)
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        if row is None:
            raise PenstockError(Code.STORAGE_BACKUP_FAILED, "PostgreSQL exported no snapshot")
        yield Snapshot(connection, str(row[0]))


@contextmanager
def _measured_meanwhile(snapshot: Snapshot) -> Iterator["Future[Content]"]:
    """What the snapshot holds, measured in a thread; the measuring does not outlive a block that fails."""
    unwanted = threading.Event()

    def check() -> None:
        if unwanted.is_set():
            raise PenstockError(Code.STORAGE_BACKUP_FAILED, "the dump failed before all was measured")

    with ThreadPoolExecutor(1, "measuring") as thread:
        measured = thread.submit(measure, snapshot.connection, check)
        try:
            yield measured
        except BaseException:
            unwanted.set()
            snapshot.connection.cancel()
            raise


def _dump(tools: Tools, url: str, snapshot: Snapshot, sealed: SealedWriter, measured: "Future[Content]") -> None:
    arguments = ["--format=custom", "--compress=0", f"--snapshot={snapshot.id}", f"--lock-wait-timeout={_LOCK_WAIT}"]
    with run_tool(tools, "pg_dump", arguments, url) as dump:
        compressor = zstandard.ZstdCompressor(level=3).compressobj()
        for piece in _pieces(dump.pipe):
            sealed.write(compressor.compress(piece))
            if measured.done() and measured.exception() is not None:
                break  # and let the caller meet the exception
        else:
            # The end of a pipe is the end of a process, good or bad.
            dump.require_success()
            sealed.write(compressor.flush())
            sealed.finish()


def _pieces(pipe: IO[bytes]) -> Iterator[bytes]:
    while piece := pipe.read(PIECE):
        yield piece
