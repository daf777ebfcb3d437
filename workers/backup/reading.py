"""Reading a dump: decrypted, decompressed and given to `pg_restore` piece by piece."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO, cast

import zstandard

from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.manifest import Manifest
from penstock.workers.backup.sealing import SealedReader, damaged
from penstock.workers.backup.store import Store
from penstock.workers.backup.tools import RunningTool, Tools, run_tool

PIECE = 256 * 1024
#: A frame of zstandard names the memory that it wants, and ours want no more than this, in bytes.
_WINDOW = 128 * 1024 * 1024


def proofread(store: Store, keys: BackupKeys, manifest: Manifest, tools: Tools) -> None:
    """See that the dump's file is the one that the manifest describes, and that pg_restore can read it to its end.

    Raises:
        PenstockError: `STORAGE_BACKUP_DAMAGED`, `STORAGE_BACKUP_KEY_UNKNOWN` or `STORAGE_BACKUP_FAILED`.
    """
    # As SQL, thrown away: so every block of it is read.
    with run_tool(tools, "pg_restore", ["--file=/dev/null"]) as restore:
        feed(store, keys, manifest, restore)


def feed(store: Store, keys: BackupKeys, manifest: Manifest, restore: RunningTool) -> None:
    """Give the dump to a pg_restore, and wait for its end.

    The dump is read to its end even where pg_restore needs no more of it, or has failed: a damaged file is the better
    reason. Where this raises, pg_restore must be killed before its input is closed.

    Raises:
        PenstockError: `STORAGE_BACKUP_DAMAGED`, `STORAGE_BACKUP_KEY_UNKNOWN` or `STORAGE_BACKUP_FAILED`.
    """
    with store.open_dump(manifest.name) as file, _opened(file, keys, manifest) as pieces:
        is_listening = True
        for piece in pieces:
            is_listening = is_listening and _give(restore.pipe, piece)
    with suppress(BrokenPipeError):
        restore.pipe.close()
    restore.require_success()


@contextmanager
def _opened(file: BinaryIO, keys: BackupKeys, manifest: Manifest) -> Iterator[Iterator[bytes]]:
    sealed = SealedReader(file, keys, manifest.name)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    # It asks for `read(size)` alone.
    with decompressor.stream_reader(cast("IO[bytes]", sealed), closefd=False) as clear:
        try:
            yield iter(lambda: clear.read(PIECE), b"")
        except zstandard.ZstdError:
            raise damaged(f"the dump of {manifest.name} can't be decompressed") from None
        sealed.require_end(manifest.sha256)


def _give(pipe: IO[bytes], piece: bytes) -> bool:
    try:
        pipe.write(piece)
    except BrokenPipeError:
        return False
    return True
