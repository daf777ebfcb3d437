"""The folder PENSTOCK_HOME: its layout, its lock, its secrets, and the note of which servers run in it.

lock                 held by the one `penstock up` (or test run) that uses the home
run/servers.json     the running servers' URLs, passwords included (0600)
secrets/             generated passwords and keys, one a file (0600)
log/                 one file a server
postgres/, valkey/   the data folders and the port that each server used last
"""

import fcntl
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from penstock.workers.embedded import ports
from penstock.workers.embedded.failures import HomeError
from penstock.workers.embedded.private_files import write_private

_PRIVATE_FOLDERS = ("run", "secrets", "log")
_SERVER_FOLDERS = ("postgres", "valkey")


@dataclass(frozen=True, slots=True)
class Servers:
    """The embedded servers of one `up`; a URL is None where the user's own server is used instead.

    Attributes:
        database_url: PostgreSQL as the role that Penstock's processes use.
        admin_database_url: PostgreSQL as superuser, for migrations.
        redis_url: Valkey.
        pid: the process that started them and stops them.
    """

    database_url: str | None = field(repr=False)
    admin_database_url: str | None = field(repr=False)
    redis_url: str | None = field(repr=False)
    pid: int

    def are_alive(self) -> bool:
        """Whether the starting process exists and each server accepts connections."""
        urls = [url for url in (self.admin_database_url, self.redis_url) if url is not None]
        return _exists(self.pid) and all(_accepts(url) for url in urls)


class Home:
    """One home. `with home.locked():` around everything that starts a server in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock_descriptor: int | None = None

    @property
    def logs(self) -> Path:
        """The folder of the servers' logs."""
        return self.path / "log"

    @property
    def servers_file(self) -> Path:
        """Where the running servers are noted."""
        return self.path / "run" / "servers.json"

    def server_folder(self, name: str) -> Path:
        """The folder of one server, `postgres` or `valkey`."""
        return self.path / name

    def lock(self) -> Self:
        """Make the folders and take the lock; the kernel releases it with the process, however that ends.

        Raises:
            HomeError: another process has the lock, or the folder can't be used.
        """
        self._make_folders()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise HomeError(
                f"{self.path} is in use by another `penstock up` (process {holder})",
                remedy="Stop the other one, or set PENSTOCK_HOME to another folder.",
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock_descriptor = descriptor
        return self

    def unlock(self) -> None:
        """Release the lock; once is enough, twice is harmless."""
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def __enter__(self) -> Self:
        return self.lock()

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def secret(self, name: str) -> str:
        """The password kept under `name`; made at the first call."""
        path = self.path / "secrets" / name
        with suppress(FileNotFoundError):
            return path.read_text("ascii").strip()
        secret = secrets.token_urlsafe(24)
        write_private(path, secret + "\n")
        return secret

    def has_secret(self, name: str) -> bool:
        """Whether a password was made under `name` before."""
        return (self.path / "secrets" / name).exists()

    @property
    def token_keys_file(self) -> Path:
        """The keys of accounts' tokens in the home's database, in the form of the setting `PENSTOCK_TOKEN_KEYS`."""
        return self.path / "secrets" / "token-keys"

    def ensure_token_keys(self, make: Callable[[], str]) -> None:
        """Keep what `make` gives as the keys of accounts' tokens, unless some are kept: nothing replaces them."""
        if not self.token_keys_file.exists():
            write_private(self.token_keys_file, make() + "\n")

    def note_servers(self, servers: Servers) -> None:
        """Let other commands find `servers`."""
        write_private(self.servers_file, json.dumps(asdict(servers), indent=2) + "\n")

    def forget_servers(self) -> None:
        """Remove the note of running servers."""
        self.servers_file.unlink(missing_ok=True)

    def _make_folders(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_owner()
            self._check_content()
            # Root's servers run as another user, who must pass through here to the data folder. Passing is
            # all that 0711 allows; whatever is secret has a closed mode of its own.
            open_mode = 0o711 if os.geteuid() == 0 else 0o700
            self.path.chmod(open_mode)
            for name in _PRIVATE_FOLDERS:
                _make_folder(self.path / name, 0o700)
            for name in _SERVER_FOLDERS:
                _make_folder(self.path / name, open_mode)
        except OSError as error:
            raise HomeError(
                f"{self.path} can't be used: {error.strerror}",
                remedy="Set PENSTOCK_HOME to a folder that this user may write.",
            ) from error

    def _check_content(self) -> None:
        """A home gets a closed mode, which would do harm to a folder that is there for other things."""
        names = {entry.name for entry in self.path.iterdir()}
        if names - {"lost+found"} and "lock" not in names:
            raise HomeError(
                f"{self.path} holds other files and is no home of Penstock",
                remedy="Set PENSTOCK_HOME to a folder that is empty or not there yet.",
            )

    def _check_owner(self) -> None:
        owner = self.path.stat().st_uid
        if owner != os.geteuid():
            raise HomeError(
                f"{self.path} belongs to user id {owner}, and this process runs as {os.geteuid()}",
                remedy="Run the command as the folder's owner, or set PENSTOCK_HOME to another folder.",
            )


def read_servers(path: Path) -> Servers | None:
    """The servers that run in the home at `path` now; None if there are none, or the note of them is stale."""
    try:
        noted = json.loads(Home(path).servers_file.read_bytes())
        servers = Servers(**noted)
    except (OSError, ValueError, TypeError):
        return None
    return servers if servers.are_alive() else None


def _make_folder(path: Path, mode: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(mode)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _accepts(url: str) -> bool:
    parts = urlsplit(url)
    return parts.hostname is not None and parts.port is not None and ports.answers(parts.hostname, parts.port)
