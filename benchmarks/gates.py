"""What the gates cost a job: the same jobs through real workers with the gate step and without it.

For each choice of gates there is a worker process of its own, with a namespace of its own, all started before the
first round. In each round each of them, in an order that rotates, works off the same number of jobs that wait already;
its time runs from the moment in which its queue is resumed to the last job done. Meanwhile the others idle. Two ratios
to what it takes without the gate step are told: the median of the rounds' times, and that of the worker processes'
processor time in all rounds, which says more where somebody else uses the machine, too (Linux only).

`python -m benchmarks.gates [--jobs N] [--rounds N] [--threads N] [--json]`
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import redis

from benchmarks.gated._gates import GATES, VARIABLE
from benchmarks.pickup import servers
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.message import encode_job
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import DEFAULT_TENANT, Queue
from penstock.workers.queues.control import QueueControl

WITHOUT = "none"
KINDS = ("bench.tiny", "bench.noop")
QUEUE = Queue.SUBMISSIONS
PATIENCE_SECONDS = 60.0
_ENQUEUED_AT_ONCE = 1_000


@dataclass
class Side:
    """One choice of gates: its namespace, and the seconds that its rounds took, by kind."""

    gates: str
    client: redis.Redis
    namespace: str
    pid: int
    processor: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def measure(self, kind: str, count: int) -> None:
        """Run a round, and note what it took."""
        before = self._processor_seconds()
        self.seconds[kind].append(self.run(kind, count))
        self.processor[kind] += self._processor_seconds() - before

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, kind: str, count: int) -> float:
        """Have its worker work off so many jobs; returns the seconds that it took."""
        control = QueueControl(self.client, self.namespace, "benchmark")
        control.pause(QUEUE, "a round is prepared")
        enqueuer = Enqueuer(self.client, self.namespace)
        now = datetime.now(UTC)
        payload = EncodedPayload(kind, QUEUE, 1, b"{}", None)
        jobs = [encode_job(payload, uuid4(), DEFAULT_TENANT, now, keep=timedelta(0)) for _ in range(count)]
        for start in range(0, count, _ENQUEUED_AT_ONCE):
            enqueuer.enqueue(QUEUE, jobs[start : start + _ENQUEUED_AT_ONCE])
        expected = self._done() + count
        began = time.perf_counter()
        control.resume(QUEUE, "go")
        while self._done() < expected:
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise SystemExit(f"the jobs with gates {self.gates!r} were not done in time")
            time.sleep(0.005)
        return time.perf_counter() - began

    def _done(self) -> int:
        found = self.client.hget(QueueKeys(self.namespace, QUEUE).key("meta"), "done")
        return int(found) if isinstance(found, bytes) else 0


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[int]:
    """One worker process; yields its id."""
    command = [sys.executable, "-m", "benchmarks.gated._worker"]
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measure(environment: dict[str, str], client: redis.Redis, chosen: argparse.Namespace) -> list[Side]:
    """All rounds, after one that warms up."""
    told = {"PENSTOCK_WORKER_THREADS": str(chosen.threads), "PENSTOCK_LOG_LEVEL": "error"}
    sides = []
    with ExitStack() as stack:
        for place, gates in enumerate(GATES):
            own = {VARIABLE: gates, "PENSTOCK_NAMESPACE": f"bench-{place}", "PENSTOCK_ACTORS": "benchmarks.gated"}
            pid = stack.enter_context(worker(environment | told | own))
            sides.append(Side(gates, client, f"bench-{place}", pid))
        for kind in KINDS:
            for number in range(chosen.rounds + 1):
                for place in range(len(sides)):
                    side = sides[(place + number) % len(sides)]
                    (side.measure if number else side.run)(kind, chosen.jobs)
    return sides


def figures(sides: list[Side], jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """By kind and gates: the milliseconds from one job's end to the next one's, and the ratios to none."""
    (without,) = (side for side in sides if side.gates == WITHOUT)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in KINDS:
        for side in sides:
            pairs = zip(side.seconds[kind], without.seconds[kind], strict=True)
            found.setdefault(kind, {})[side.gates] = {
                "ms_a_job": round(statistics.median(side.seconds[kind]) * 1_000 / jobs, 4),
                "ratio": round(statistics.median(own / other for own, other in pairs), 3),
                "processor_ratio": round(side.processor[kind] / without.processor[kind], 3),
            }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.gates", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1_000, help="of each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, servers(Path(folder) / "home") as urls:
        with psycopg.connect(urls["ADMIN_URL"], autocommit=True) as connection:
            connection.execute("CREATE TABLE bench_effects (job_id uuid PRIMARY KEY)")
            connection.execute("GRANT INSERT, SELECT ON bench_effects TO PUBLIC")
        with redis.Redis.from_url(urls["REDIS_URL"]) as client:
            sides = measure(urls, client, chosen)
    report(figures(sides, chosen.jobs), as_json=chosen.json)


def report(found: dict[str, dict[str, dict[str, float]]], *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for kind, by_gates in found.items():
        for gates, told in by_gates.items():
            sys.stdout.write(
                f"{kind}, gates: {gates}: {told['ms_a_job']} ms a job, {told['ratio']} of none"
                f" ({told['processor_ratio']} of its processor time)\n"
            )


if __name__ == "__main__":
    main()
