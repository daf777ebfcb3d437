"""Debian's PostgreSQL and Redis, with TLS and nothing but TLS: the servers of the wheels have none.

They are PostgreSQL 15 and Redis 7 on Debian 12, the oldest releases that Penstock takes.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import psycopg

from penstock.workers.embedded import ports
from penstock.workers.embedded.privileges import Identity, server_identity
from tests.debian import require_program
from tests.producers.tls import Authority
from tests.recovery.servers import free_port
from tests.system import wait_for

#: The one login that needs no certificate of a client, but a password.
ADMIN = "postgres"
_PASSWORD = "of-the-test"
#: Whose certificate says who it is, needs no password; nobody comes in without TLS.
_ACCESS = f"""\
hostssl all {ADMIN} 127.0.0.1/32 scram-sha-256
hostssl all all      127.0.0.1/32 cert
"""
#: The kernel ties a server to the thread that started it, so one thread that lives as long as the tests starts all.
_keeper = ThreadPoolExecutor(1, thread_name_prefix="debian-servers")


class _DebianServer:
    """One server process in a folder of its own, which another user may have to enter."""

    def __init__(self, name: str, authority: Authority, identity: Identity) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"penstock-debian-{name}-"))
        self.folder.chmod(0o755)
        self.log = self.folder / "log"
        self.port = free_port()
        self._name = name
        self._authority = authority
        self._issued: dict[str, tuple[Path, Path]] = {}
        self._identity = identity
        self._process: subprocess.Popen[bytes] | None = None

    def _certificate(self, login: str) -> tuple[Path, Path]:
        """Made once: a process that runs reads its files again at each connection."""
        if login not in self._issued:
            self._issued[login] = self._authority.issue(login)
        return self._issued[login]

    def _own(self, file: Path, name: str = "") -> Path:
        """A copy of a file that the server may read and nobody else."""
        copy = Path(shutil.copy(file, self.folder / (name or file.name)))
        copy.chmod(0o600)
        self._identity.own(copy)
        return copy

    def _spawn(self, command: Sequence[str]) -> None:
        def spawn() -> "subprocess.Popen[bytes]":
            with self.log.open("ab") as log:
                run = self._identity.command(command, signal.SIGKILL)
                return subprocess.Popen(run, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        self._process = _keeper.submit(spawn).result()

    def _is_over(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def close(self) -> None:
        """Stop it and remove its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""


class DebianPostgres(_DebianServer):
    """PostgreSQL that speaks TLS alone. Logins besides the administrator's show a certificate of the authority.

    Its certificate is for 127.0.0.1; `localhost` leads to it as well, and is another name.
    """

    def __init__(self, authority: Authority) -> None:
        postgres = require_program("postgres", "postgresql")
        self._binaries = Path(postgres).resolve().parent
        super().__init__("postgresql", authority, server_identity((self._binaries / "postgres",)))

    @property
    def admin_url(self) -> str:
        """A superuser's."""
        return self.url(ADMIN, password=_PASSWORD, sslmode="verify-full", sslrootcert=str(self._authority.certificate))

    def url_of(self, login: str, **options: str) -> str:
        """The URL of a login that shows its certificate; `options` add to it or take its place, empty ones go."""
        certificate, key = self._certificate(login)
        key.chmod(0o600)  # libpq refuses a key that others may read
        files = {"sslrootcert": str(self._authority.certificate), "sslcert": str(certificate), "sslkey": str(key)}
        return self.url(login, **{"sslmode": "verify-full", **files, **options})

    def url(self, login: str, *, password: str = "", host: str = ports.LOOPBACK, **options: str) -> str:
        """A URL with these parameters of libpq."""
        secret = f":{password}" if password else ""
        asked = urlencode({name: value for name, value in options.items() if value})
        return f"postgresql://{login}{secret}@{host}:{self.port}/penstock?{asked}"

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """Show this one from now on to whoever connects."""
        for name, file in (("server.pem", certificate), ("server.key", key)):
            # In its place in one step: the server may read it at any moment.
            self._own(file, f"{name}.new").rename(self.folder / name)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def end_sessions(self) -> None:
        """Cut all connections, as a failover does. Does not look at the server's certificate."""
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename <> %s"
        with psycopg.connect(self.url(ADMIN, password=_PASSWORD, sslmode="require"), autocommit=True) as connection:
            connection.execute(end, (ADMIN,))

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self._spawn([str(self._binaries / "postgres"), "-D", str(self.folder / "data")])
            wait_for(self._is_ready, "PostgreSQL")
            with psycopg.connect(self.admin_url, dbname=ADMIN, autocommit=True) as connection:
                connection.execute("CREATE DATABASE penstock")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self) -> None:
        data, password = self.folder / "data", self.folder / "password"
        data.mkdir(mode=0o700)
        password.write_text(_PASSWORD)
        for path in (data, password):
            self._identity.own(path)
        command = [str(self._binaries / "initdb"), f"--pgdata={data}", f"--username={ADMIN}", f"--pwfile={password}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = subprocess.run(
            self._identity.command(command, signal.SIGKILL),
            cwd=self.folder,
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert made.returncode == 0, made.stderr.decode()
        certificate, key = (self._own(file) for file in self._authority.issue("server"))
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "ssl_ca_file": str(self._own(self._authority.certificate)),
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (data / "pg_hba.conf").write_text(_ACCESS)

    def _is_ready(self) -> bool:
        assert not self._is_over(), self.last_words()
        try:
            psycopg.connect(self.admin_url, dbname=ADMIN, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class DebianRedis(_DebianServer):
    """Redis that speaks TLS alone, to clients that show a certificate of the authority.

    Args:
        authority: signs its certificate, which is for 127.0.0.1.
        settings: more lines of its configuration file.
        sentinel: run it as a Sentinel.
    """

    def __init__(
        self, authority: Authority, settings: Mapping[str, str] | None = None, *, sentinel: bool = False
    ) -> None:
        self._program = require_program("redis-server", "redis-server")
        super().__init__("sentinel" if sentinel else "redis", authority, Identity())
        self._settings = dict(settings or {})
        self._mode = ["--sentinel"] if sentinel else []

    def options(self, login: str = "client", **options: str) -> str:
        """The parameters of a URL for a client that shows its certificate; `options` add to them, empty ones go."""
        certificate, key = self._certificate(login)
        files = {
            "ssl_ca_certs": str(self._authority.certificate),
            "ssl_certfile": str(certificate),
            "ssl_keyfile": str(key),
        }
        return urlencode({name: value for name, value in {**files, **options}.items() if value})

    def url(self, host: str = ports.LOOPBACK, scheme: str = "rediss", **options: str) -> str:
        """The address with these parameters, or others."""
        return f"{scheme}://{host}:{self.port}/0?{self.options(**options)}"

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._spawn([self._program, str(self.folder / "redis.conf"), *self._mode])
            wait_for(self._is_ready, self._name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(self) -> None:
        certificate, key = (self._own(file) for file in self._authority.issue("server"))
        settings = {
            "bind": ports.LOOPBACK,
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(certificate),
            "tls-key-file": str(key),
            "tls-ca-cert-file": str(self._own(self._authority.certificate)),
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
            "dir": str(self.folder),
            "daemonize": "no",
        }
        if not self._mode:
            settings |= {"appendonly": "yes", "save": '""', "maxmemory-policy": "noeviction"}
        lines = {**settings, **self._settings}
        (self.folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def _is_ready(self) -> bool:
        assert not self._is_over(), self.last_words()
        return b"Ready to accept connections" in self.log.read_bytes() or b"Sentinel ID" in self.log.read_bytes()
