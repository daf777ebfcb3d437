"""A migrated database, the `penstock` command as a user runs it, and worker processes: pytest fixtures."""

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from penstock.migrations.runner import Migrator
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.settings import WorkerSettings
from tests import forked
from tests.servers import ADMIN_URL

BIN = Path(sys.executable).parent
#: A worker that has done nothing by then does not work.
PATIENCE_SECONDS = 120.0

_TEMPLATE = "penstock_template"
_APP_PASSWORD = "PENSTOCK_TEST_APP_PASSWORD"


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database of one's own. `url` is a worker's login, `admin_url` a superuser's."""

    name: str
    admin_url: str
    url: str

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement as superuser."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: object) -> Any:
        """The one value that a statement gives."""
        ((found,),) = self.query(statement, *parameters)
        return found


def _at(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _as_app(url: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"penstock_app:{password}@{host}").geturl()


@pytest.fixture(scope="session")
def template() -> str:
    """The name of a migrated database to copy; the first of the test processes makes it."""
    server = os.environ[ADMIN_URL]
    password = os.environ[_APP_PASSWORD]
    # One lock a server: test processes share it, and so the template.
    lock = Path(tempfile.gettempdir()) / f"penstock-template-{urlsplit(server).port}-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with psycopg.connect(server, autocommit=True) as connection:
            made = connection.execute("SELECT FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
            if made is None:
                connection.execute(f"CREATE DATABASE {_TEMPLATE}_new TEMPLATE template0")
                Migrator(_at(server, f"{_TEMPLATE}_new")).up()
                grant_app_roles(_at(server, f"{_TEMPLATE}_new"), password)
                connection.execute(f"ALTER DATABASE {_TEMPLATE}_new RENAME TO {_TEMPLATE}")
    return _TEMPLATE


@pytest.fixture(scope="module")
def database(template: str) -> Iterator[Database]:
    """A migrated database of the module's own."""
    server = os.environ[ADMIN_URL]
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
    admin_url = _at(server, name)
    yield Database(name, admin_url, _as_app(admin_url, os.environ[_APP_PASSWORD]))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def environment(database: Database, redis_url: str, namespace: str, tmp_path_factory: Any) -> dict[str, str]:
    """The environment of the module's processes: its own database, namespace and home, and nothing of the user's."""
    return {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("user")),
        "PENSTOCK_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database.url,
        "PENSTOCK_MIGRATION_DATABASE_URL": database.admin_url,
        "REDIS_URL": redis_url,
        "PENSTOCK_NAMESPACE": namespace,
    }


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> WorkerSettings:
    """The settings that the module's processes read."""
    return WorkerSettings.from_environment(environment)


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object that a command with `--json` printed on standard error."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


Penstock = Callable[..., Run]


@pytest.fixture(scope="module")
def penstock(environment: dict[str, str]) -> Penstock:
    """Runs `penstock` with these arguments, as a user does; `env` replaces variables, None removes one."""

    def run(*arguments: str | Path, env: dict[str, str | None] | None = None, stdin: bytes | None = None) -> Run:
        merged = {name: value for name, value in {**environment, **(env or {})}.items() if value is not None}
        done = forked.run(arguments, merged, stdin)
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@dataclass(slots=True)
class WorkerProcess:
    """A running `penstock worker`."""

    process: "subprocess.Popen[bytes]"
    ready: threading.Event = field(default_factory=threading.Event)
    reader: threading.Thread = field(init=False)
    _lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)

    @property
    def lines(self) -> list[str]:
        """What it has said; all of it where it has ended."""
        if self.reader.is_alive() and self.reader is not threading.current_thread() and self.process.poll() is not None:
            self.reader.join(PATIENCE_SECONDS)
        return self._lines

    def wait_until_ready(self) -> "WorkerProcess":
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not self.ready.wait(0.05) and self.process.poll() is None and time.monotonic() < ends_at:
            pass
        if not self.ready.is_set():
            raise AssertionError("the worker did not become ready:\n" + "\n".join(self.lines[-20:]))
        return self

    def kill(self) -> None:
        """As the kernel's out-of-memory killer does it."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        """As a platform does it; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            if "the worker is ready" in text:
                self.ready.set()


@pytest.fixture(scope="module")
def start_worker(environment: dict[str, str]) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts worker processes; what still runs at the end is stopped, and must stop."""
    started: list[WorkerProcess] = []

    def start(**env: str) -> WorkerProcess:
        process = forked.start(["worker"], environment | env, stderr=subprocess.PIPE)
        worker = WorkerProcess(process)
        worker.reader.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.stop()
        if worker.process.stderr is not None:
            worker.process.stderr.close()


@pytest.fixture(scope="module")
def worker(start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    """One worker for the module."""
    return start_worker().wait_until_ready()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until another process has brought about `what`."""
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"still waiting for: {what}")
        time.sleep(0.02)
