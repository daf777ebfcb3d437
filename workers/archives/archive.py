"""The folder of archives, each of which is two files of mode 0600.

NAME.jsonl.gz        a row a line, as JSON
NAME.manifest.json   what it holds; written last, so that an archive without one was never finished
*.part               a file that is being written, or was when its process was killed
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from penstock.schemas.errors import Code, InvalidInputError, NotFoundError, PenstockError

FORMAT = 1

_NAME = re.compile(r"[a-z_]+[a-z0-9_]*-[A-Za-z0-9-]{1,100}\Z")
_PIECE = 1 << 20


class _Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds.

    Attributes:
        table: that its rows are of, such as `submissions`.
        source: what they were taken from, such as `submissions_y2020m01`.
        oid: of the table in its database; tells whether an archive is of this very table.
        rows: lines of the file.
        size: bytes of the file.
        sha256: of the file; `content_sha256` of what it holds, uncompressed.
        created_at: RFC 3339 in UTC.
        release: that wrote it.
    """

    name: str
    table: str
    source: str
    oid: int
    rows: int
    size: int
    sha256: str
    content_sha256: str
    created_at: str
    release: str
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        """The manifest as commands show it, and as it is written."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, as it was given: what is on the disk has to be the same."""

    rows: int
    size: int
    sha256: str
    content_sha256: str


class ArchiveFolder:
    """The folder at `path`; made at the first archive. One folder is for one deployment."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()

    def data(self, name: str) -> Path:
        """The file of rows."""
        return self.path / f"{name}.jsonl.gz"

    def prepare(self, *tables: str) -> None:
        """Make the folder, and clear what killed processes left of archives of some tables.

        Only for who alone writes archives of these.

        Raises:
            PenstockError: `STORAGE_ARCHIVE_FAILED`.
        """
        with _failing(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for table in tables:
                for leftover in self.path.glob(f"{table}[-_]*.part"):
                    leftover.unlink(missing_ok=True)

    def write(self, name: str, pieces: Iterable[bytes]) -> Written:
        """Write the file of rows, on disk to the last byte. The pieces are whole lines when they are put together.

        Raises:
            PenstockError: `STORAGE_ARCHIVE_FAILED`.
        """
        content, rows = hashlib.sha256(), 0
        with _failing(self.path):
            with self._writing(self.data(name)) as file:
                counted = _Counted(file)
                with gzip.GzipFile(fileobj=cast("Any", counted), mode="wb", mtime=0) as packed:
                    for piece in pieces:
                        content.update(piece)
                        rows += piece.count(b"\n")
                        packed.write(piece)
            return Written(rows, counted.size, counted.digest.hexdigest(), content.hexdigest())

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: from now on the archive counts.

        Raises:
            PenstockError: `STORAGE_ARCHIVE_FAILED`.
        """
        text = json.dumps(manifest.as_dict(), indent=2) + "\n"
        with _failing(self.path), self._writing(self.path / f"{manifest.name}.manifest.json") as file:
            file.write(text.encode())

    def manifests(self) -> list[Manifest]:
        """The finished archives, by name.

        Raises:
            PenstockError: `STORAGE_ARCHIVE_DAMAGED` where a manifest is none.
        """
        suffix = ".manifest.json"
        names = [path.name.removesuffix(suffix) for path in self.path.glob(f"*{suffix}")]
        return [self.manifest(name) for name in sorted(names)]

    def manifest(self, name: str) -> Manifest:
        """What the archive of that name holds.

        Raises:
            NotFoundError: `STORAGE_ARCHIVE_NOT_FOUND`.
            PenstockError: `STORAGE_ARCHIVE_DAMAGED`.
        """
        if not _NAME.match(name):
            raise InvalidInputError(Code.REQUEST_USAGE, f"{name[:100]!r} is no archive's name")
        try:
            found = json.loads((self.path / f"{name}.manifest.json").read_bytes())
            manifest = Manifest(**found)
        except FileNotFoundError:
            raise NotFoundError(Code.STORAGE_ARCHIVE_NOT_FOUND, f"there is no archive {name} in {self.path}") from None
        except (OSError, ValueError, TypeError) as error:
            raise damaged(name, f"its manifest can't be read ({type(error).__name__})") from None
        if manifest.name != name or manifest.format != FORMAT:
            raise damaged(name, "its manifest is another archive's, or of another release")
        return manifest

    def lines(self, name: str, observe: Callable[[bytes], None] = lambda _: None) -> Iterator[bytes]:
        """The rows, a line each.

        Raises:
            PenstockError: `STORAGE_ARCHIVE_DAMAGED` where the file is none, at that place.
        """
        try:
            with gzip.open(self.data(name), "rb") as file:
                for line in file:
                    observe(line)
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(name, f"its file can't be read ({type(error).__name__})") from None

    @contextmanager
    def _writing(self, place: Path) -> Iterator[BinaryIO]:
        """A file that appears under its name, whole and on disk, when the block ends well, and not at all else."""
        draft = place.with_name(f"{place.name}.part")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            draft.replace(place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(self.path)


def verify_archive(folder: ArchiveFolder, manifest: Manifest) -> None:
    """Read an archive to its end and compare it with its manifest.

    Raises:
        PenstockError: `STORAGE_ARCHIVE_DAMAGED`, which says what differs.
    """
    if _sha256(folder.data(manifest.name), manifest.name) != manifest.sha256:
        raise damaged(manifest.name, "its file is not the one that was written")
    content, rows = hashlib.sha256(), 0
    for line in folder.lines(manifest.name, content.update):
        rows += line.endswith(b"\n")
    if (rows, content.hexdigest()) != (manifest.rows, manifest.content_sha256):
        raise damaged(manifest.name, f"it holds {rows:,} rows, and not the {manifest.rows:,} that were written")


def damaged(name: str, told: str) -> PenstockError:
    """For an archive that is not what it should be."""
    return PenstockError(Code.STORAGE_ARCHIVE_DAMAGED, f"the archive {name} is damaged: {told}")


class _Counted:
    """A file that knows the size and the digest of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest: _Digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _sync_folder(path: Path) -> None:
    """Make the names in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path, name: str) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise damaged(name, f"its file can't be read ({error.strerror})") from None
    return found.hexdigest()


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = f"{path} can't be written: {error.strerror or type(error).__name__}"
        raise PenstockError(Code.STORAGE_ARCHIVE_FAILED, told) from error
