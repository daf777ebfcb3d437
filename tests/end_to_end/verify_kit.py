"""A deployment to verify: its processes beside servers of its own, and broken things for it to find."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from penstock.workers.cli.root import run
from penstock.workers.settings import WorkerSettings
from penstock.workers.verify.result import Outcome, Result, Verification
from penstock.workers.verify.target import Target
from penstock.workers.verify.verification import verify
from tests.recovery.servers import free_port
from tests.system import BIN, Run, wait_for

#: How Redis has to be.
SAFE = {"appendonly": "yes", "appendfsync": "everysec", "save": '""', "maxmemory-policy": "noeviction"}
#: For all checks together: nobody here waits for it.
LIMIT = timedelta(seconds=100)
SECRET = "hunter2-the-password"


def target_of(environment: Mapping[str, str], **changes: Any) -> Target:
    """The deployment of that environment; `changes` are fields of Target, which has patience with a loaded machine."""
    settings = WorkerSettings.from_environment(environment)
    return Target(settings, environment, **{"limit": timedelta(seconds=30), **changes})


def look(environment: Mapping[str, str], smoke: timedelta | None = None, **changes: Any) -> "Found":
    """Verify it in this process."""
    return Found(verify(target_of(environment, **changes), LIMIT, smoke))


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    verification: Verification

    def __getitem__(self, name: str) -> Result:
        (found,) = [result for result in self.verification.results if result.name == name]
        return found

    def names(self, outcome: Outcome) -> set[str]:
        return {result.name for result in self.verification.results if result.outcome is outcome}

    def broken(self, name: str, outcome: Outcome = Outcome.FAIL) -> str:
        """What is told of a check that ended so; it must say what to do."""
        found = self[name]
        assert found.outcome is outcome, found
        assert found.remedy, found
        return f"{found.code or ''} {found.told} {found.remedy}"


def command(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    environment: Mapping[str, str],
    *options: str,
) -> Run:
    """`penstock verify` in this process, which takes no second to start, with that environment and nothing else."""
    for name in set(os.environ) - set(environment):
        if name.startswith(("PENSTOCK_", "DATABASE_URL", "REDIS_URL", "SENTRY_", "OTEL_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code = run(["verify", *options])
    told = capfd.readouterr()
    return Run(code, told.out, told.err)


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])


@contextmanager
def processes(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A worker, a scheduler, a gateway and a sidecar at work; yields the addresses of the last two."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("gateway", "sidecar")}
    listens = {f"PENSTOCK_{name.upper()}_LISTEN": address for name, address in addresses.items()}
    # By this name, too, which leads to this machine and is none of loopback's: as others would ask them.
    hosts = {f"PENSTOCK_{name.upper()}_HOSTS": "0.0.0.0" for name in addresses}
    variables = dict(environment) | listens | hosts
    started = [
        subprocess.Popen([BIN / "penstock", command], env=variables, stderr=subprocess.DEVNULL)
        for command in ("worker", "scheduler", *addresses)
    ]
    try:
        for address in addresses.values():
            wait_for(partial(_is_ready, address), f"{address} to be ready")
        yield {name: f"http://{address}" for name, address in addresses.items()}
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health/ready", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def later(seconds: float) -> Any:
    """A clock that is ahead."""
    return lambda: time.time() + seconds
