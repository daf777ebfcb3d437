"""A gateway process to measure, and what it, Redis and PostgreSQL hold while something runs."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import redis


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A running gateway."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def memory_mb(self, what: str) -> float:
        """`VmRSS` now, or `VmHWM`, the most that there was."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) / 1024
        raise LookupError(what)

    def connections(self) -> int:
        """Established connections to its port."""
        told = (line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:])
        return sum(1 for line in told if line[1].endswith(f":{self.port:04X}") and line[3] == "01")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  our own http address
            f"{self.url}{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own http address
            return json.load(answer)


@contextmanager
def gateway_process(environment: Mapping[str, str]) -> Iterator[GatewayProcess]:
    """Run a gateway, a ready one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "penstock"), "gateway"]
    with tempfile.TemporaryDirectory() as folder:
        variables = {**environment, "PENSTOCK_GATEWAY_LISTEN": f"127.0.0.1:{port}", "PENSTOCK_HOME": folder}
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, env=variables, stderr=log)
        found = GatewayProcess(process.pid, port)
        try:
            while not _is_ready(found):
                if process.poll() is not None:
                    raise RuntimeError((Path(folder) / "log").read_text())
                time.sleep(0.05)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _is_ready(gateway: GatewayProcess) -> bool:
    try:
        return bool(gateway.ask("GET", "/health/ready")["status"] == "ready")
    except (urllib.error.URLError, ConnectionError):
        return False


@dataclass(slots=True)
class Watch:
    """Looks every half second, within the block, at what the system holds; keeps the most of each."""

    gateway: GatewayProcess
    admin_url: str
    redis_url: str
    most: dict[str, float] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def _look(self) -> None:
        with (
            psycopg.connect(self.admin_url, autocommit=True) as connection,
            redis.Redis.from_url(self.redis_url) as client,
        ):
            while not self._ended.wait(0.5):
                seen = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <>"
                    " pg_backend_pid()"
                ).fetchone()
                found = {
                    "gateway_mb": self.gateway.memory_mb("VmRSS"),
                    "gateway_connections": self.gateway.connections(),
                    "postgresql_connections": 0 if seen is None else seen[0],
                    "redis_connections": client.info("clients")["connected_clients"],
                    "load_average": os.getloadavg()[0],
                }
                for name, value in found.items():
                    self.most[name] = max(round(value, 1), self.most.get(name, 0))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(10)
