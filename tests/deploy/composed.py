"""What deploy/compose describes, run on this machine without an engine: its servers with their configuration, its
secrets, and the image's own commands with the environment that it gives them.

Addresses and paths of containers become ports and folders of one's own; nothing else is changed.
"""

import importlib.util
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg
import yaml
from psycopg import sql

from penstock.workers.embedded import binaries
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from tests.debian import require_program
from tests.deploy import dockerfile
from tests.deploy.clean_environment import CleanEnvironment
from tests.deploy.dockerfile import ROOT
from tests.recovery.servers import free_port
from tests.system import wait_for

COMPOSE = ROOT / "deploy" / "compose"

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)}")


def compose_file() -> dict[str, Any]:
    """compose.yaml with its defaults put in."""
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(_DEFAULT.sub(r"\1", text))
    return found


def make_secrets() -> ModuleType:
    """The program of that name."""
    spec = importlib.util.spec_from_file_location("make_secrets", COMPOSE / "make_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Composed:
    """Both servers with their configuration, and the commands of the file. A context manager.

    Attributes:
        token: logs the operator in.
        ports: by the port that it is in the container.
    """

    def __init__(self, clean: CleanEnvironment) -> None:
        self._clean = clean
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-composed-"))
        # The server's user has to pass here.
        self.folder.chmod(0o755)
        self.secrets = self.folder / "secrets"
        self.run = self.folder / "run"
        self.services = compose_file()["services"]
        self.ports = {port: free_port() for port in (6379, 8080, 9191, 9192)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self.folder)
        try:
            self.token = make_secrets().make_all(self.secrets)
            self.run.mkdir(mode=0o700)
            self.admin_url = self._stack.enter_context(self._postgresql())
            self._stack.enter_context(self._redis())
            self._stack.callback(self._end)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def secret(self, name: str) -> str:
        """The content of a secret."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    def environment(self, service: str) -> dict[str, str]:
        """What a container of the service has, image and file together."""
        image = dockerfile.environment(dockerfile.parse(dockerfile.DOCKERFILE.read_text())[-1])
        found = image | self.services[service]["environment"] | {"PATH": f"{self._clean.folder}/bin"}
        return {name: self._here(value) for name, value in found.items()}

    def command(self, service: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the service's container with these arguments, or its own, to its end."""
        asked = arguments or self.services[service]["command"]
        return subprocess.run(
            [self._clean.penstock, *asked],
            env=self.environment(service), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def start(self, service: str) -> None:
        """Start it."""
        log = (self.folder / f"{service}.log").open("wb")
        with log:
            self.processes[service] = subprocess.Popen(
                [self._clean.penstock, *self.services[service]["command"]],
                env=self.environment(service), stdout=log, stderr=log,
            )  # fmt: skip

    def health(self, service: str) -> "subprocess.CompletedProcess[str]":
        """The service's own health check."""
        kind, program, *arguments = self.services[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "penstock-alive")
        command = [*self._clean.alive, *(self._here(word) for word in arguments)]
        return subprocess.run(
            command, env=self.environment(service), capture_output=True, text=True, check=False, timeout=30
        )

    def wait_until_healthy(self, service: str) -> None:
        """As `depends_on` does."""

        def is_healthy() -> bool:
            assert self.processes[service].poll() is None, self.log(service)
            return self.health(service).returncode == 0

        wait_for(is_healthy, f"{service} to be healthy")

    def log(self, service: str) -> str:
        """What it has said."""
        return (self.folder / f"{service}.log").read_text()

    def stop(self, service: str) -> int:
        """As an engine stops it: the code, within the time that the file gives."""
        process = self.processes.pop(service)
        process.send_signal(signal.SIGTERM)
        return process.wait(float(self.services[service]["stop_grace_period"].removesuffix("s")))

    def address(self, port: int) -> str:
        """Where a container's port is."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def _here(self, value: str) -> str:
        text = value.replace("/run/secrets/", f"{self.secrets}/").replace("/run/penstock", str(self.run))
        for port, here in self.ports.items():
            text = re.sub(rf":{port}\b", f":{here}", text)
        return text

    @contextmanager
    def _postgresql(self) -> Iterator[str]:
        """A new server, set up as the image of PostgreSQL does it: the superuser's password, then logins.sql."""
        home = Home(self.folder / "postgresql")
        home.lock()
        server = EmbeddedPostgres(home, settings={"fsync": "off", "max_connections": "100"})
        admin = server.start().admin
        try:
            with psycopg.connect(admin, autocommit=True) as connection:
                password = sql.Literal(self.secret("postgres_password"))
                connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(password))
            place = urlsplit(admin)
            for name in ("database_url", "migration_database_url"):
                self._rewrite(name, "@postgres:5432/", f"@{place.hostname}:{place.port}/")
            script = (COMPOSE / "postgres" / "logins.sql").read_text().replace("/run/secrets", str(self.secrets))
            self._psql(script)
            yield self.secret("migration_database_url")
        finally:
            server.stop()
            home.unlock()

    def _psql(self, script: str) -> None:
        psql = binaries.postgres_install() / "bin" / "psql"
        url = self.secret("migration_database_url")
        done = subprocess.run(
            [psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", url],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def _redis(self) -> Iterator[None]:
        """Debian's Redis 7 with redis.conf."""
        program = require_program("redis-server", "redis-server")
        data = self.folder / "redis"
        data.mkdir()
        text = (COMPOSE / "redis" / "redis.conf").read_text().replace("/run/secrets", str(self.secrets))
        here = {"bind * -::*": "bind 127.0.0.1", "port 6379": f"port {self.ports[6379]}", "dir /data": f"dir {data}"}
        for line, other in here.items():
            assert f"\n{line}\n" in text
            text = text.replace(f"\n{line}\n", f"\n{other}\n")
        (data / "redis.conf").write_text(text)
        self._rewrite("redis_url", "@redis:6379/", f"@127.0.0.1:{self.ports[6379]}/")
        log = self.folder / "redis.log"
        with log.open("wb") as file:
            process = subprocess.Popen([program, data / "redis.conf"], stdout=file, stderr=file)
        try:
            wait_for(lambda: b"Ready to accept connections" in log.read_bytes(), "Redis")
            yield
        finally:
            process.terminate()
            process.wait(30)

    def _rewrite(self, name: str, old: str, new: str) -> None:
        path = self.secrets / name
        text = path.read_text()
        assert old in text
        path.chmod(0o644)
        path.write_text(text.replace(old, new))

    def _end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
