"""A trial of the queue: probes that leave their mark, real workers sound or faulty, and what became of each job."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.message import encode_job
from penstock.producers.queue.records import JobRecord, JobRecords
from penstock.schemas.identity import job_id
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases
from tests import forked
from tests.system import PATIENCE_SECONDS, Database, WorkerProcess, wait_for

GUARDED, UNGUARDED = "probe.guarded", "probe.unguarded"
QUEUE = Queue.SUBMISSIONS
TENANT = "acme"
#: The shortest lease that the settings allow: a dead worker's jobs are with others soon after.
LEASE_SECONDS = 2

_HERE = Path(__file__).parent
_FAULTY = [sys.executable, str(_HERE / "faulty_worker.py")]
_TABLE = """
    CREATE TABLE IF NOT EXISTS effects_seen (
        job_id uuid NOT NULL, worker int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    TRUNCATE effects_seen;
    GRANT INSERT ON effects_seen TO PUBLIC;
"""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a probe's actor. `at` is in seconds of the monotonic clock."""

    job_id: UUID
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What probes left behind: rows, jobs that have any, and jobs that have more than one."""

    rows: int
    jobs: int
    twice: int


@dataclass(repr=False)
class Trial:
    """One queue of its own, its workers, and what they did. Use it as a context manager: it stops what it started."""

    base_environment: dict[str, str]
    database: Database
    folder: Path
    environment: dict[str, str] = field(init=False)
    workers: "list[TrialWorker]" = field(default_factory=list)

    def __post_init__(self) -> None:
        own = {
            "PENSTOCK_NAMESPACE": f"{self.base_environment['PENSTOCK_NAMESPACE']}-{secrets.token_hex(4)}",
            "PENSTOCK_ACTORS": "probe_actors",
            "PENSTOCK_LEASE_SECONDS": str(LEASE_SECONDS),
            "PENSTOCK_POOL_MIN": "1",
            "PENSTOCK_POOL_MAX": "8",
            "PENSTOCK_SHUTDOWN_SECONDS": "5",
            "PENSTOCK_TEST_STARTS": str(self.folder / "starts"),
            "PYTHONPATH": str(_HERE / "kinds"),
        }
        self.environment = self.base_environment | own
        self.namespace = own["PENSTOCK_NAMESPACE"]
        self.starts_file = Path(own["PENSTOCK_TEST_STARTS"])
        self.starts_file.touch()
        self.keys = QueueKeys(self.namespace, QUEUE)
        self.client: redis.Redis = connect(self.environment["REDIS_URL"])
        self._enqueuer = Enqueuer(self.client, self.namespace)
        self._records = JobRecords(self.client, self.namespace)
        self._inspector = QueueInspector(self.client, self.namespace)

    def __enter__(self) -> Self:
        self.database.query(_TABLE)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self.client.close()

    def start(self, *, ready: bool = True, **variables: object) -> "TrialWorker":
        """Start a worker with these variables; a faulty one where one of them asks for a fault."""
        told = {name: str(value) for name, value in variables.items()}
        faulty = any(name.startswith("PENSTOCK_TEST_") for name in told)
        env = self.environment | told
        if faulty:
            process = subprocess.Popen(_FAULTY, env=env, stderr=subprocess.PIPE)
        else:
            process = forked.start(["worker"], env, stderr=subprocess.PIPE)
        worker = TrialWorker(process)
        worker.reader.start()
        self.workers.append(worker)
        if ready:
            worker.wait_until_ready()
        return worker

    @contextmanager
    def minded(self, poison_limit: int = 3) -> Iterator[None]:
        """Have somebody tick all the time, as a scheduler does, so that no gap between two workers is an outage."""
        leases = Leases(self.client, self.namespace, "", timedelta(seconds=LEASE_SECONDS), poison_limit)
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(0.2):
                leases.tick(QUEUE, member=False)

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def enqueue(
        self, count: int = 1, *, name: str = "probe", kind: str = GUARDED, due: timedelta | None = None, **members: Any
    ) -> list[UUID]:
        """Enqueue probes `name-0` and on, all alike; returns their ids, in order."""
        jobs = [self.job({"name": f"{name}-{number}"} | members, kind=kind, due=due) for number in range(count)]
        self.offer(jobs)
        return [job.job_id for job in jobs]

    def spread(
        self, count: int, over: timedelta, *, name: str = "probe", kind: str = GUARDED, **members: Any
    ) -> list[UUID]:
        """As `enqueue`, made ready evenly over a time."""
        jobs = [
            self.job({"name": f"{name}-{number}"} | members, kind=kind, due=over * number / count)
            for number in range(count)
        ]
        self.offer(jobs)
        return [job.job_id for job in jobs]

    def job(
        self, payload: dict[str, Any], *, kind: str = GUARDED, due: timedelta | None = None, tenant: str = TENANT
    ) -> NewJob:
        """One probe, not enqueued yet; its payload's name makes it what it is."""
        body = json.dumps(payload).encode()
        encoded = EncodedPayload(kind, QUEUE, 1, body, idempotency_key=None)
        identity = job_id(tenant, kind, f"{self.namespace}/{payload['name']}")
        return encode_job(encoded, identity, tenant, datetime.now(UTC), keep=timedelta(hours=1), due=due)

    def offer(self, jobs: Iterable[NewJob]) -> None:
        """Enqueue, again and again while Redis is away: ids make it safe."""
        self._enqueuer.enqueue(QUEUE, list(jobs))

    def counts(self) -> QueueCounts:
        """Where the queue's jobs are, at one instant."""
        return self._inspector.counts(QUEUE)

    def records(self, job_ids: list[UUID]) -> dict[UUID, JobRecord]:
        """What the queue knows of these jobs."""
        return self._records.read(job_ids)

    def states(self, job_ids: list[UUID]) -> Counter[str]:
        """How many of these jobs are in each state."""
        records = self.records(job_ids)
        return Counter(str(records[one].state) if one in records else "unknown" for one in job_ids)

    def wait_until_over(self, seconds: float = PATIENCE_SECONDS) -> float:
        """Wait until every job is done or dead; returns the seconds that it took."""
        started = time.monotonic()
        wait_for(lambda: self.counts().waiting == 0, "all jobs to be done or dead", seconds)
        return time.monotonic() - started

    def effects(self, job_ids: Iterable[UUID]) -> Effects:
        """What these jobs left behind."""
        rows = self.database.query(
            "SELECT count(*) FROM effects_seen WHERE job_id = ANY(%s) GROUP BY job_id", list(job_ids)
        )
        counts = [int(count) for (count,) in rows]
        return Effects(sum(counts), len(counts), sum(count > 1 for count in counts))

    def starts(self) -> list[Start]:
        """Every start of every probe, in order."""
        lines = (line.split() for line in self.starts_file.read_text().splitlines())
        return [Start(UUID(one), int(pid), float(at)) for one, pid, at in lines]

    def starts_of(self, job_ids: Iterable[UUID]) -> Counter[UUID]:
        """How often each of these jobs was started."""
        wanted = set(job_ids)
        return Counter(start.job_id for start in self.starts() if start.job_id in wanted)

    def assert_exactly_once(self, job_ids: list[UUID]) -> None:
        """Every one of these jobs is done, has its effect, and none has it twice."""
        assert self.states(job_ids) == {"done": len(job_ids)}
        assert self.effects(job_ids) == Effects(len(job_ids), len(job_ids), 0)

    def assert_clean(self) -> None:
        """Nothing is held or unaccounted for, and `penstock reconcile` finds nothing."""
        counts = self.counts()
        assert (counts.leased, counts.unaccounted) == (0, 0)
        done = forked.run(["reconcile", "--json"], self.environment)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


class TrialWorker(WorkerProcess):
    """A worker of a trial, sound or faulty."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    def __repr__(self) -> str:
        return f"<worker {self.pid}>"

    def wait_until_dead(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until it has ended; returns the exit code, below 0 for a signal."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("the worker still runs; it said:\n" + "\n".join(self.lines[-30:])) from None

    def close(self) -> None:
        """Kill what still runs, and let go of its output."""
        if self.is_running():
            self.kill()
        self.reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture
def trial(environment: dict[str, str], database: Database, tmp_path: Path) -> Iterator[Trial]:
    """A trial on the servers of the test run."""
    with Trial(environment, database, tmp_path) as made:
        yield made
