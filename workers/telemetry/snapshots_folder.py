"""The folder of snapshots: private, each file replaced as a whole, a lock for each process that lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Held by whoever reads all files, so that two sidecars don't add an ended process twice.
_READING = "reading.lock"
#: What processes that have ended have counted.
ENDED = "ended"


class MetricsFolder:
    """Files by the name of their process, `<kind>-<boot>`."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()

    def make(self) -> None:
        """Make the folder where it is not there.

        Raises:
            OSError: it can't be made, or everybody may write to it: what stands there would be anybody's numbers.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_mode & 0o002:
            raise PermissionError(f"{self.path} can be written by everybody")

    def write(self, name: str, content: bytes) -> None:
        """Replace a file; a reader sees the old content or the new one."""
        draft = self.path / f"{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(self.snapshot(name))

    def take_life(self, name: str) -> int:
        """Hold the lock that says this process lives; the kernel lets it go when the descriptor is closed."""
        path = self.life(name)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A reader may have taken the file away before the lock was ours.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name holds its lock."""
        descriptor, held = self._try(name)
        if descriptor is not None:
            os.close(descriptor)
        return held

    def forget_without_snapshot(self, name: str) -> None:
        """Take the lock's file away if nobody holds it, and let nobody take it meanwhile."""
        descriptor, _ = self._try(name)
        if descriptor is not None:
            self.forget(name)
            os.close(descriptor)

    def _try(self, name: str) -> tuple[int | None, bool]:
        """The lock of a process if it can be taken, and whether somebody else holds it."""
        try:
            descriptor = os.open(self.life(name), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None, False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None, True
        return descriptor, False

    def forget(self, name: str) -> None:
        """Take a process's files away."""
        for path in (self.snapshot(name), self.life(name), self.path / f"{name}.new"):
            path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """The processes of which there is a snapshot, without those that have ended, by name."""
        found = {path.stem for path in self.path.glob("*-*.json")}
        return sorted(found)

    def leftovers(self) -> list[str]:
        """Processes that have a lock and no snapshot: they have just begun, or ended before they measured."""
        return sorted({path.stem for path in self.path.glob("*-*.alive")} - set(self.names()))

    def snapshot(self, name: str) -> Path:
        """The file of a process's snapshot."""
        return self.path / f"{name}.json"

    def life(self, name: str) -> Path:
        """The file that a process locks while it lives."""
        return self.path / f"{name}.alive"

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Be the only one who reads or folds."""
        descriptor = os.open(self.path / _READING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
