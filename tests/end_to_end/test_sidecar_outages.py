"""`penstock sidecar` while its servers are stopped or frozen: every answer comes within 2 s, and says which is away."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import forked
from tests.recovery.servers import OwnPostgres, OwnValkey, free_port
from tests.system import BIN, PATIENCE_SECONDS, wait_for

#: What an asker waits at the most.
LIMIT_SECONDS = 2.0
#: The answers of a machine that is busy with other tests come a little later.
SLACK_SECONDS = 0.5 if os.environ.get("CI") == "true" else 0.3
READS = (
    "/health/live",
    "/health/ready",
    "/health",
    "/metrics",
    "/api/v1/autoscale",
    "/api/v1/queues",
    "/api/v1/trends",
    "/api/v1/posts",
    "/api/v1/accounts",
)
#: Of PostgreSQL alone.
LETTERS = "/api/v1/dead-letters?limit=5"
PAGES = ("/", "/queues", "/dead-letters", "/dead-letters/list", "/circuits", "/posts", "/accounts", "/audit")
#: A connection of its own for each question, as a probe has. One client, since making one is more work than asking.
_ASKER = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(slots=True)
class Sidecar:
    """A running `penstock sidecar`."""

    url: str
    process: "subprocess.Popen[bytes]"
    lines: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[httpx.Response, float]:
        """An answer, and how long it took."""
        started = time.monotonic()
        answer = _ASKER.get(f"{self.url}{path}")
        return answer, time.monotonic() - started

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/health")[0].json()
        return found

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())


@dataclass(frozen=True, slots=True)
class Deployment:
    postgres: OwnPostgres
    valkey: OwnValkey
    environment: dict[str, str]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with OwnPostgres() as postgres, OwnValkey() as valkey:
        yield Deployment(postgres, valkey, _environment(postgres.database.url, valkey.url, tmp_path_factory))


def _environment(database_url: str, redis_url: str, paths: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(paths.mktemp("user")),
        "PENSTOCK_HOME": str(paths.mktemp("home")),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }


@contextmanager
def running(environment: dict[str, str]) -> Iterator[Sidecar]:
    """A sidecar that answers; it must stop soon after SIGTERM: in about a second on an idle machine."""
    address = f"127.0.0.1:{free_port()}"
    process = forked.start(["sidecar"], environment | {"PENSTOCK_SIDECAR_LISTEN": address}, stderr=subprocess.PIPE)
    sidecar = Sidecar(f"http://{address}", process)
    reader = threading.Thread(target=sidecar.read, daemon=True)
    reader.start()
    try:
        wait_for(lambda: _is_live(sidecar) or process.poll() is not None, "the sidecar to answer")
        assert process.poll() is None, sidecar.lines
        yield sidecar
    finally:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_SECONDS)
        took = time.monotonic() - started
        reader.join(5)
        assert process.stderr is not None
        process.stderr.close()
    assert code == 0, sidecar.lines[-20:]
    assert took < 20, took


def _is_live(sidecar: Sidecar) -> bool:
    try:
        return sidecar.get("/health/live")[0].status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def sidecar(deployment: Deployment) -> Iterator[Sidecar]:
    with running(deployment.environment) as found:
        wait_for(lambda: found.get("/health/ready")[0].status_code == 200, "the sidecar to find its servers")
        for path in (*READS, LETTERS, *PAGES):
            # What was asked once is known.
            assert found.get(path)[0].status_code == 200, path
        yield found


def _family(pid: int) -> list[int]:
    """A process and all that came of it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _family(int(child)))]


@contextmanager
def frozen_postgres(deployment: Deployment) -> Iterator[None]:
    assert deployment.postgres._server.pid is not None
    family = _family(deployment.postgres._server.pid)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen_redis(deployment: Deployment) -> Iterator[None]:
    deployment.valkey.freeze()
    try:
        yield
    finally:
        deployment.valkey.thaw()


@contextmanager
def frozen_both(deployment: Deployment) -> Iterator[None]:
    with frozen_postgres(deployment), frozen_redis(deployment):
        yield


@contextmanager
def stopped_postgres(deployment: Deployment) -> Iterator[None]:
    deployment.postgres.kill9()
    try:
        yield
    finally:
        deployment.postgres.start()


@contextmanager
def stopped_redis(deployment: Deployment) -> Iterator[None]:
    deployment.valkey.kill9()
    try:
        yield
    finally:
        deployment.valkey.start()


@contextmanager
def stopped_both(deployment: Deployment) -> Iterator[None]:
    with stopped_postgres(deployment), stopped_redis(deployment):
        yield


OUTAGES: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "PostgreSQL stopped": (stopped_postgres, {"postgresql"}),
    "Redis stopped": (stopped_redis, {"redis"}),
    "both stopped": (stopped_both, {"postgresql", "redis"}),
    "PostgreSQL frozen": (frozen_postgres, {"postgresql"}),
    "Redis frozen": (frozen_redis, {"redis"}),
    "both frozen": (frozen_both, {"postgresql", "redis"}),
}
NAMES = {"postgresql": "PostgreSQL", "redis": "Redis"}


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda name: name.replace(" ", "-"))
def test_every_answer_comes_in_time_and_says_which_server_is_away(
    outage: str, deployment: Deployment, sidecar: Sidecar
) -> None:
    begin, away = OUTAGES[outage]
    with begin(deployment), ThreadPoolExecutor(16) as askers:
        # Many at once from the first moment on, when nobody knows of the outage yet.
        first = list(askers.map(sidecar.get, [*READS, LETTERS, *PAGES] * 3))
        slowest = max(took for _, took in first)
        assert slowest < LIMIT_SECONDS + SLACK_SECONDS, sorted((took, answer.url) for answer, took in first)[-5:]
        assert not [(answer.url, answer.text) for answer, _ in first if answer.status_code == 500]
        assert {answer.status_code for answer, _ in first if answer.url.path == "/health/live"} == {200}

        wait_for(lambda: _away(sidecar) == away, f"the sidecar to know that {outage}")
        report = sidecar.health()
        assert report["status"] == "CRITICAL"
        assert all((name in report["sentence"]) == (server in away) for server, name in NAMES.items()), report[
            "sentence"
        ]
        assert "since" in report["sentence"]
        assert sidecar.get("/health/ready")[0].status_code == 503
        # Now that it is known, nobody waits for it any more.
        known = [min(sidecar.get(path)[1] for _ in range(3)) for path in ("/api/v1/queues", LETTERS)]
        assert max(known) < 0.5, known
        told, _ = sidecar.get("/api/v1/queues")
        if "redis" in away:
            assert (told.status_code, told.json()["stale"]) == (200, True)
        else:
            assert (told.status_code, told.json()["stale"]) == (200, False)
        print(f"{outage}: the slowest of {len(first)} answers took {slowest:.2f} s; then {max(known):.3f} s")
    wait_for(lambda: sidecar.get("/health/ready")[0].status_code == 200, f"the sidecar to be ready after {outage}")


def _away(sidecar: Sidecar) -> set[str]:
    return {
        check["name"]
        for check in sidecar.health()["checks"]
        if check["name"] in NAMES and check["status"] == "CRITICAL"
    }


def test_it_starts_and_answers_while_neither_server_is_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = free_port()
    environment = _environment(
        f"postgresql://u:p@127.0.0.1:{nobody}/x", f"redis://127.0.0.1:{nobody}/0", tmp_path_factory
    )
    with running(environment) as found:
        wait_for(lambda: _away(found) == {"postgresql", "redis"}, "the sidecar to look for its servers")
        answer, took = found.get("/api/v1/queues")
        assert (answer.status_code, answer.json()["code"]) == (503, "QUEUE_UNAVAILABLE")
        assert took < LIMIT_SECONDS
        assert found.get("/health/live")[0].status_code == 200
