"""Servers that a fault test has for itself: to kill, freeze and start again on the same port and data.

All are children that the kernel kills with this process, and context managers that leave nothing behind. They can be
started from any thread.
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.migrations.runner import Migrator
from penstock.workers.embedded import binaries, ports
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.privileges import Identity
from tests.system import Database, wait_for

SEED = "PENSTOCK_TEST_SEED"
FULL = "PENSTOCK_TEST_FULL"

#: The kernel ties a server to the thread that started it, so one thread that lives as long as the tests starts all.
_keeper = ThreadPoolExecutor(1, thread_name_prefix="test-servers")
#: Below the ports that the kernel gives to clients: a client that tries to reach a dead server on one of those can be
#: given that very port, and then talks to itself and keeps the server from coming back.
_PORTS = range(20_000, 32_000)
_START_ATTEMPTS = 5


def full() -> bool:
    """Whether tests run at full size (PENSTOCK_TEST_FULL=1), or at one that fits into `make test`."""
    return os.environ.get(FULL) == "1"


class Seeded(random.Random):
    """Chance that can be repeated: prints its seed, and takes that of PENSTOCK_TEST_SEED where it is set."""

    def __new__(cls) -> Self:
        return super().__new__(cls)

    def __init__(self) -> None:
        self.started_from = int(os.environ.get(SEED) or secrets.randbits(32))
        super().__init__(self.started_from)
        print(f"seed {self.started_from}: repeat this run with {SEED}={self.started_from}")


def free_port() -> int:
    """A free port that no client is given by chance, and that no other test process is told while this one lives."""
    for _ in range(1_000):
        port = secrets.choice(_PORTS)
        if ports.is_free(port) and _reserve(port):
            return port
    raise AssertionError("no free port")


def _reserve(port: int) -> bool:
    """Hold the UDP port of the same number, which none of our servers uses, as a sign that the kernel takes away."""
    sign = socket.socket(type=socket.SOCK_DGRAM)
    try:
        sign.bind((ports.LOOPBACK, port))
    except OSError:
        sign.close()
        return False
    sign.detach()  # stays open until this process ends
    return True


class ValkeyProcess:
    """One `valkey-server` process with a configuration file, a folder and a port that it keeps.

    Args:
        settings: lines of the configuration file besides `port` and `dir`.
        password: of the default user; empty for none.
        sentinel: run it as a Sentinel.
    """

    def __init__(self, settings: Mapping[str, str], *, password: str = "", sentinel: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-faults-"))
        self.log = self.folder / "log"
        self.password = password
        self.port = 0
        self._settings = dict(settings)
        self._mode = ["--sentinel"] if sentinel else []
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    @property
    def url(self) -> str:
        """Its address, the same after each start."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{ports.LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process is there; also true of a frozen one."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start, or start again on the same port and data; returns when it answers and has loaded its data."""
        attempts = 1 if self.port else _START_ATTEMPTS
        for _ in range(attempts):
            self._configure()
            self._process = _keeper.submit(self._spawn).result()
            if self._wait_until_ready():
                return self
            self.port = self.port if attempts == 1 else 0
        raise AssertionError(f"valkey-server did not start:\n{self.log.read_text()[-2000:]}")

    def kill9(self) -> None:
        """As the kernel's out-of-memory killer or a power cut does it (the page cache stays)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> Self:
        """`kill9`, then start."""
        self.kill9()
        return self.start()

    def freeze(self) -> None:
        """Stop the process where it stands: its connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self, **options: Any) -> "redis.Redis":
        """A client that tries nothing twice; it is closed with the server."""
        options = {"socket_timeout": 5, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)} | options
        client = redis.Redis.from_url(self.url, **options)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Kill it and remove its data."""
        for client in self._clients:
            client.close()
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(self) -> None:
        # Written once: a failover writes into the file too, and a killed server finds its new role there.
        file = self.folder / "valkey.conf"
        if self.port and file.exists():
            return
        self.port = free_port()
        fixed = {"bind": ports.LOOPBACK, "port": str(self.port), "dir": str(self.folder), "daemonize": "no"}
        secret = {"requirepass": self.password} if self.password else {}
        file.write_text("".join(f"{name} {value}\n" for name, value in {**fixed, **secret, **self._settings}.items()))

    def _spawn(self) -> "subprocess.Popen[bytes]":
        command = [str(binaries.valkey_server()), str(self.folder / "valkey.conf"), *self._mode]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                Identity().command(command, signal.SIGKILL), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait_until_ready(self) -> bool:
        """False where the process ended; such is the case when another one was faster to take the port."""
        with redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            wait_for(lambda: not self.is_running() or self._answers(client), "valkey-server to answer")
        return self.is_running()

    def _answers(self, client: "redis.Redis") -> bool:
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # not listening yet, or loading
            return False


class OwnValkey(ValkeyProcess):
    """A Valkey of one's own.

    Args:
        appendfsync: how the append-only file is flushed (`always`, `everysec`, `no`); None for no such file.
        maxmemory: its limit, as the configuration file takes it (`100mb`); `0` for none.
        cluster: one node with `cluster-enabled yes` that owns all slots.
        replica_of: the server that it copies.
        settings: more lines of the configuration file; they win.
    """

    def __init__(
        self,
        *,
        appendfsync: str | None = "everysec",
        maxmemory: str = "0",
        cluster: bool = False,
        replica_of: "OwnValkey | None" = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        password = secrets.token_hex(8) if replica_of is None else replica_of.password
        lines = {
            "appendonly": "no" if appendfsync is None else "yes",
            "appendfsync": appendfsync or "no",
            "maxmemory": maxmemory,
            "maxmemory-policy": "noeviction",
            "save": '""',
            "masterauth": password,
            "repl-diskless-sync-delay": "0",
            "cluster-enabled": "yes" if cluster else "no",
        }
        if replica_of is not None:
            lines["replicaof"] = f"{ports.LOOPBACK} {replica_of.port}"
        super().__init__(lines | dict(settings or {}), password=password)
        self._is_cluster = cluster
        self._is_replica = replica_of is not None

    def start(self) -> Self:
        """As `ValkeyProcess`; a cluster is whole then, and a new replica has its copy."""
        is_first = self.port == 0
        super().start()
        with self.client() as client:
            if self._is_cluster:
                self._serve_all_slots(client, is_first)
            if self._is_replica and is_first:
                wait_for(lambda: client.info("replication").get("master_link_status") == "up", "the replica's copy")
        return self

    def _serve_all_slots(self, client: "redis.Redis", is_first: bool) -> None:
        if is_first:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        wait_for(lambda: b"cluster_state:ok" in _bytes(client.execute_command("CLUSTER", "INFO")), "the cluster")


class OwnPostgres:
    """A PostgreSQL of one's own with a migrated database and the workers' login. Of its settings only `fsync` is off.

    What is committed outlives `kill9`, since the page cache does.
    """

    def __init__(self) -> None:
        self._home = Home(Path(tempfile.mkdtemp(prefix="penstock-faults-"))).lock()
        self._server = EmbeddedPostgres(self._home, settings={"fsync": "off"})
        (self._server.folder / "port").write_text(str(free_port()))

    @property
    def database(self) -> Database:
        """The migrated database."""
        urls = self._server.urls
        return Database(urlsplit(urls.admin).path[1:], urls.admin, urls.app)

    def start(self) -> Self:
        """Start, or start again on the same port and data; returns when it takes connections."""
        before = self._server.port
        _keeper.submit(self._server.start).result()
        assert before in {0, self._server.port}, "another process took the port"
        if not before:
            Migrator(self.database.admin_url).up()
            grant_app_roles(self.database.admin_url, self._server.app_password)
        return self

    def kill9(self) -> None:
        """Kill the postmaster; its children see that and leave."""
        self._end(signal.SIGKILL)

    def stop_immediately(self) -> None:
        """What PostgreSQL calls an immediate shutdown: every session ends at once, and the next start recovers."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self._server.stop()
        self._home.unlock()
        shutil.rmtree(self._home.path, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, number: signal.Signals) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, number)
        wait_for(lambda: not self._server.is_running(), "PostgreSQL to end")


def measured(started: float) -> float:
    """Seconds since that moment of `time.monotonic`, rounded for a report."""
    return round(time.monotonic() - started, 2)


def _bytes(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else str(answer).encode()
