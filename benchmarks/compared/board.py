"""What jobs note for whoever measures: how many of them ran, and when they began.

The notes stand in memory that processes share by way of files; a note takes under a microsecond, so it is no part of
what is measured. `VARIABLE` names the folder. Times are those of the machine's monotonic clock, in seconds.
"""

import mmap
import os
import struct
import threading
from pathlib import Path

VARIABLE = "PENSTOCK_BENCH_BOARD"
#: Jobs that can note when they began.
STARTS = 4_096
_STARTS_FILE = "starts"
_NUMBER = struct.Struct("<q")
_INSTANT = struct.Struct("<d")


class Board:
    """The folder, made empty, as whoever measures reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        with (folder / _STARTS_FILE).open("wb") as file:
            file.truncate(STARTS * _INSTANT.size)
        self._starts = _mapped(folder / _STARTS_FILE)

    def ran_by_process(self) -> dict[int, int]:
        """How many jobs ran in which process."""
        files = (path for path in self.folder.iterdir() if path.name.isdigit())
        return {int(path.name): _NUMBER.unpack(path.read_bytes())[0] for path in files if path.stat().st_size}

    def ran(self) -> int:
        """How many jobs ran."""
        return sum(self.ran_by_process().values())

    def started_at(self, number: int) -> float | None:
        """When the job of that number began; None where it has not."""
        (instant,) = _INSTANT.unpack_from(self._starts, number * _INSTANT.size)
        return instant or None

    def clear(self) -> None:
        """Forget what was noted; no worker may be running."""
        for path in self.folder.iterdir():
            if path.name.isdigit():
                path.unlink()
        self._starts[:] = bytes(len(self._starts))


class _Notes:
    """This process's side. A forked child makes its own."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._lock = threading.Lock()
        self._count = 0
        folder = Path(os.environ[VARIABLE])
        own = folder / str(self.process_id)
        own.write_bytes(_NUMBER.pack(0))
        self._ran, self._starts = _mapped(own), _mapped(folder / _STARTS_FILE)

    def run(self, jobs: int) -> None:
        with self._lock:
            self._count += jobs
            _NUMBER.pack_into(self._ran, 0, self._count)

    def start(self, number: int, instant: float) -> None:
        _INSTANT.pack_into(self._starts, number * _INSTANT.size, instant)


_making = threading.Lock()
_notes: _Notes | None = None


def _own_notes() -> _Notes:
    global _notes  # noqa: PLW0603  one for each process, whoever asks first
    if _notes is None or _notes.process_id != os.getpid():
        with _making:
            if _notes is None or _notes.process_id != os.getpid():
                _notes = _Notes()
    return _notes


def note_runs(jobs: int = 1) -> None:
    """Note that jobs ran."""
    _own_notes().run(jobs)


def note_start(number: int, instant: float) -> None:
    """Note when a job began: `time.monotonic()` in its first line."""
    _own_notes().start(number, instant)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)
