"""One look at a deployment: each dependency asked once, with its answer and how long it took."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from penstock.migrations.runner import require_current
from penstock.producers.queue.connection import connect, redis_errors
from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import PenstockError
from penstock.schemas.names import Queue
from penstock.workers.database.failures import storage_errors
from penstock.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found. `code` and `remedy` are there where it failed."""

    name: str
    healthy: bool
    told: str
    seconds: float
    code: str | None = None
    remedy: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The check as commands and endpoints show it."""
        value: dict[str, Any] = {
            "name": self.name,
            "healthy": self.healthy,
            "message": self.told,
            "seconds": round(self.seconds, 4),
        }
        return value | ({"code": self.code, "remedy": self.remedy} if self.code else {})


def check_all(settings: WorkerSettings) -> list[Check]:
    """Ask PostgreSQL, the schema, Redis and the queues."""
    return [
        _run("postgresql", lambda: _postgresql(settings)),
        _run("schema", lambda: _schema(settings)),
        _run("redis", lambda: _redis(settings)),
        _run("queues", lambda: _queues(settings)),
    ]


def is_healthy(checks: Sequence[Check]) -> bool:
    """True where every check passed."""
    return all(check.healthy for check in checks)


def _run(name: str, ask: Callable[[], str]) -> Check:
    started = time.perf_counter()
    try:
        told = ask()
    except PenstockError as error:
        took = time.perf_counter() - started
        return Check(name, False, error.message, took, str(error.code), error.remedy)
    return Check(name, True, told, time.perf_counter() - started)


def _connect(settings: WorkerSettings) -> "psycopg.Connection":
    return psycopg.connect(
        settings.database_url,
        autocommit=True,
        connect_timeout=3,
        application_name="penstock-health",
        prepare_threshold=None,
    )


def _postgresql(settings: WorkerSettings) -> str:
    with storage_errors(), _connect(settings) as connection:
        version, role = connection.execute("SELECT current_setting('server_version'), current_user").fetchone() or ()
    return f"PostgreSQL {version}, as {role}"


def _schema(settings: WorkerSettings) -> str:
    with storage_errors(), _connect(settings) as connection:
        require_current(connection)
    return "the schema is the one that this release needs"


def _redis(settings: WorkerSettings) -> str:
    with redis_errors("asking for its state"), connect(settings.redis_url, replays=0) as client:
        facts = client.info()
    policy = facts.get("maxmemory_policy", "unknown")
    persistence = "with an append-only file" if facts.get("aof_enabled") else "WITHOUT an append-only file"
    # Valkey tells a Redis version too, for clients that look for one.
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {facts['redis_version']}"
    return f"{name}, {persistence}, maxmemory-policy {policy}"


def _queues(settings: WorkerSettings) -> str:
    with connect(settings.redis_url, replays=0) as client:
        inspector = QueueInspector(client, settings.namespace)
        counts = [inspector.counts(queue) for queue in Queue]
    return "; ".join(
        f"{count.queue}: {count.ready:,} ready, {count.leased:,} leased, {count.scheduled:,} scheduled,"
        f" {count.parked:,} parked, {count.dead:,} dead"
        for count in counts
    )
