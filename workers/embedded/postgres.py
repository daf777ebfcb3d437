"""The embedded PostgreSQL: TCP on loopback alone, passwords everywhere, all files under the home."""

import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from penstock.workers.embedded import binaries, ports
from penstock.workers.embedded.failures import EmbeddedServerError
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.private_files import sync_folder, write_private
from penstock.workers.embedded.privileges import Identity, server_identity
from penstock.workers.embedded.server_process import ServerProcess, run_once

DATABASE = "penstock"
APP_ROLE = "penstock_app"
_ADMIN_ROLE = "postgres"
_ADMIN_SECRET = "postgres-admin"  # noqa: S105 - the name of a file
_APP_SECRET = "postgres-app"  # noqa: S105 - the name of a file

#: Where a data folder is made; the rest of the name is random.
_WORKSHOP = "new-"
#: Above the highest process id that Linux can give, 2**22 (proc(5), pid_max).
_NO_PROCESS = 2**22 + 1

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_line_prefix": "%m [%p] %a ",
    # DETAIL and CONTEXT of an error quote the row, which holds people's answers.
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True, slots=True)
class PostgresUrls:
    """URLs of the database: `admin` as superuser; `app` as a login that `grant_app_roles` makes."""

    admin: str = field(repr=False)
    app: str = field(repr=False)


class EmbeddedPostgres(ServerProcess):
    """PostgreSQL 18 in a home whose lock the caller holds.

    Args:
        home: a locked home.
        settings: server settings that differ from ours, such as `{"fsync": "off"}` for tests.
        start_limit: how long recovery after a crash may take.
        stop_limit: how long a fast shutdown may take before the server is killed.
    """

    name = "postgres"
    program = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: https://www.postgresql.org/docs/18/server-shutdown.html

    def __init__(
        self,
        home: Home,
        *,
        settings: Mapping[str, str] | None = None,
        start_limit: timedelta = timedelta(minutes=2),
        stop_limit: timedelta = timedelta(seconds=30),
    ) -> None:
        super().__init__(home, start_limit=start_limit, stop_limit=stop_limit)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._data = self.folder / "data"

    @property
    def app_password(self) -> str:
        """The password of the role in the app's URL."""
        return self.home.secret(_APP_SECRET)

    @property
    def urls(self) -> PostgresUrls:
        """The URLs of the running server."""
        return PostgresUrls(
            admin=self._url(_ADMIN_ROLE, self.home.secret(_ADMIN_SECRET)),
            app=self._url(APP_ROLE, self.app_password),
        )

    def start(self) -> PostgresUrls:
        """Start the server, first making its data folder and the database where they are missing.

        Raises:
            EmbeddedServerError: it can't be made or started.
        """
        if not self._data.exists():
            self._initialise()
        elif not self.home.has_secret(_ADMIN_SECRET):
            raise self._foreign_data("is there, but its password is not")
        self._start()
        try:
            self._make_database()
        except BaseException:
            self.stop()
            raise
        return self.urls

    def _initialise(self) -> None:
        """Make the data folder beside its place and rename it last, so that a half-made one is never used."""
        for leftover in self.folder.glob(f"{_WORKSHOP}*"):
            shutil.rmtree(leftover, ignore_errors=True)  # a killed initdb's last child may still write there
        workshop = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=self.folder))
        draft, password = workshop / "data", workshop / "password"
        draft.mkdir(mode=0o700)
        write_private(password, self.home.secret(_ADMIN_SECRET) + "\n")
        identity = self._identity()
        for path in (workshop, draft, password):
            identity.own(path)
        if run_once(identity.command(self._initdb(draft, password), signal.SIGKILL), self.log) != 0:
            raise EmbeddedServerError(f"initdb failed; its log is {self.log}{self._last_words()}")
        draft.rename(self._data)
        sync_folder(self.folder)
        shutil.rmtree(workshop)

    def _clear_leftovers(self) -> None:
        """Let a lock file left by a dead postmaster name no process.

        PostgreSQL refuses to start while the process id in it exists, which after a reboot or in a new container is
        often somebody else's. The home's lock is ours and no postmaster of this folder runs. The rest of the file
        stays: by it PostgreSQL sees whether backends of a killed postmaster still live.
        """
        lock_file = self._data / "postmaster.pid"
        if lock_file.exists():
            _, _, rest = lock_file.read_text("utf-8").partition("\n")
            write_private(lock_file, f"{_NO_PROCESS}\n{rest}")
            self._identity().own(lock_file)

    def _initdb(self, folder: Path, password: Path) -> list[str]:
        command = [_program("initdb"), f"--pgdata={folder}", f"--pwfile={password}"]
        command += [f"--username={_ADMIN_ROLE}", "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return [*command, "--no-sync"] if self._settings.get("fsync") == "off" else command

    def _identity(self) -> Identity:
        install = binaries.postgres_install()
        return server_identity((install / "bin" / "postgres", install / "lib", install / "share", self.folder))

    def _marker(self) -> str:
        return str(self._data)

    def _command(self) -> list[str]:
        settings = {**self._settings, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [_program("postgres"), "-D", str(self._data), *options]

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self._maintenance_url(), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise self._foreign_data(f"refuses the password of {self.home.path}") from None
            return False
        return True

    def _foreign_data(self, what: str) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"{self._data} {what}",
            remedy=f"Restore secrets/{_ADMIN_SECRET} from a backup, or remove the data folder to start afresh.",
        )

    def _make_database(self) -> None:
        with psycopg.connect(self._maintenance_url(), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _maintenance_url(self) -> str:
        return self._url(_ADMIN_ROLE, self.home.secret(_ADMIN_SECRET), database="postgres")

    def _url(self, role: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{password}@{ports.LOOPBACK}:{self.port}/{database}"


def _program(name: str) -> str:
    return str(binaries.postgres_install() / "bin" / name)
