"""The folder of backups: two files each, and a note of the last verification.

NAME.dump       the encrypted dump
NAME.manifest   what it holds; written last, so that a backup without one was never finished
NAME.verified   when it was restored into a fresh server and found equal
*.part          a file that is being written, or was when its process was killed
lock            held while one is made
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError, PenstockError
from penstock.workers.backup.keys import BackupKeys
from penstock.workers.backup.manifest import Manifest, open_manifest
from penstock.workers.backup.sealing import damaged
from penstock.workers.embedded.private_files import sync_folder

_NAME = re.compile(r"penstock-([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{8}\Z")
_INSTANT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """One backup of the folder. `fault` is why it can't be used, as a quick look tells it; None where it can."""

    name: str
    created_at: datetime
    manifest: Manifest | None
    fault: PenstockError | None
    verified_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The backup as commands show it."""
        known = self.manifest
        return {
            "name": self.name,
            "created_at": self.created_at.isoformat(),
            "label": None if known is None else known.label,
            "rows": None if known is None else known.content.rows,
            "bytes": None if known is None else known.size,
            "state": "good" if self.fault is None else str(self.fault.code),
            "verified_at": None if self.verified_at is None else self.verified_at.isoformat(),
        }


class Store:
    """The folder at `path`; made at the first backup."""

    def __init__(self, path: Path, keys: BackupKeys) -> None:
        self.path = path.expanduser()
        self._keys = keys

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that writes here; clears what killed ones left half-written.

        Raises:
            PenstockError: `STORAGE_BACKUP_RUNNING`, or `CONFIG_INVALID` where the folder can't be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / "lock").open("ab")
        except OSError as error:
            raise InvalidInputError(
                Code.CONFIG_INVALID, f"PENSTOCK_BACKUP_DIR: {self.path} can't be written: {error.strerror}"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PenstockError(
                    Code.STORAGE_BACKUP_RUNNING, f"another process is making a backup in {self.path}"
                ) from None
            for leftover in self.path.glob("*.part"):
                leftover.unlink(missing_ok=True)
            yield

    @contextmanager
    def writing(self, name: str, suffix: str) -> Iterator[BinaryIO]:
        """A file that appears under its name, whole and on disk, when the block ends well, and not at all else."""
        draft, place = self.path / f"{name}.{suffix}.part", self.path / f"{name}.{suffix}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            draft.replace(place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync_folder(self.path)

    def write(self, name: str, suffix: str, data: bytes) -> None:
        """Write a small file in the same way."""
        with self.writing(name, suffix) as file:
            file.write(data)

    def discard_dump(self, name: str) -> None:
        """Remove the dump of a backup that came to nothing."""
        (self.path / f"{name}.dump").unlink(missing_ok=True)

    def note_verified(self, name: str, facts: Mapping[str, Any]) -> None:
        """Note that a backup was restored and found equal."""
        self.write(name, "verified", json.dumps(dict(facts)).encode() + b"\n")

    def entries(self) -> list[Entry]:
        """The finished backups, the newest first."""
        names = [path.stem for path in self.path.glob("*.manifest") if _NAME.match(path.stem)]
        return [self._look(name) for name in sorted(names, reverse=True)]

    def manifest(self, name: str | None) -> Manifest:
        """The authenticated manifest of a backup, or of the newest one; its dump is there and as long as it should be.

        Raises:
            PenstockError: of the family `STORAGE_BACKUP_`.
        """
        if name is None:
            name = max((path.stem for path in self.path.glob("*.manifest") if _NAME.match(path.stem)), default=None)
        if name is None or not _NAME.match(name) or not (self.path / f"{name}.manifest").is_file():
            told = f"there is no backup {name[:80]!r} in {self.path}" if name else f"there is no backup in {self.path}"
            raise NotFoundError(Code.STORAGE_BACKUP_NOT_FOUND, told)
        manifest = open_manifest((self.path / f"{name}.manifest").read_bytes(), self._keys, name)
        size = self._size(name)
        if size != manifest.size:
            told = "is missing" if size is None else f"has {size} bytes instead of {manifest.size}"
            raise damaged(f"the dump of {name} {told}")
        return manifest

    def open_dump(self, name: str) -> BinaryIO:
        """The dump's file."""
        return (self.path / f"{name}.dump").open("rb")

    def remove_old(self, keep: timedelta, now: datetime) -> list[str]:
        """Remove backups that are older than `keep`; returns their names, the oldest first.

        The newest usable one stays however old it is, and so does the newest that was verified.
        """
        entries = self.entries()
        good = [entry for entry in entries if entry.fault is None]
        if not good:
            return []
        verified = [entry for entry in good if entry.verified_at is not None]
        kept = {entry.name for entry in (*good[:1], *verified[:1])}
        old = [entry.name for entry in entries if entry.created_at < now - keep and entry.name not in kept]
        for name in old:
            self._remove(name)
        self._remove_dumps_without_manifest()
        return sorted(old)

    def _remove(self, name: str) -> None:
        # The manifest first: a dump without one is no backup, and is removed at the next occasion.
        for suffix in ("manifest", "verified", "dump"):
            (self.path / f"{name}.{suffix}").unlink(missing_ok=True)
        sync_folder(self.path)

    def _remove_dumps_without_manifest(self) -> None:
        for dump in self.path.glob("penstock-*.dump"):
            if not dump.with_suffix(".manifest").exists():
                dump.unlink(missing_ok=True)

    def _look(self, name: str) -> Entry:
        manifest, fault = None, None
        try:
            manifest = self.manifest(name)
        except PenstockError as error:
            fault = error
        return Entry(name, _created_at(name), manifest, fault, self._verified_at(name))

    def _verified_at(self, name: str) -> datetime | None:
        try:
            noted = json.loads((self.path / f"{name}.verified").read_bytes())
            return datetime.fromisoformat(noted["verified_at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _size(self, name: str) -> int | None:
        try:
            return (self.path / f"{name}.dump").stat().st_size
        except OSError:
            return None


def new_name(now: datetime) -> str:
    """The name of a backup that begins now; names sort by age."""
    return f"penstock-{now.astimezone(UTC).strftime(_INSTANT)}-{secrets.token_hex(4)}"


def _created_at(name: str) -> datetime:
    found = _NAME.match(name)
    assert found is not None  # noqa: S101  only such names are asked about
    return datetime.strptime(found[1], _INSTANT).replace(tzinfo=UTC)
