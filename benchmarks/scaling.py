"""How throughput grows with worker processes and connections, and what a job costs as everything else grows.

`python -m benchmarks.scaling [--only workers,connections,...] [--sizes 1000,10000,...] [--jobs N] [--into FILE]`

* `workers`: one to four worker processes. `connections`: two processes of one to eight threads, a connection each.
* `backlog`: tiny jobs that wait before and behind those that are measured. `scheduled`: jobs that are due far ahead.
* `dead`: dead letters in PostgreSQL; here jobs die, and the scheduler puts their letters among the others.
* `rows`: rows in `submissions`, in the month's partition that grows; here batches are measured.

A job's cost is processor time, of the workers, PostgreSQL and Redis: what else the machine does changes it less than it
changes times. The producer's is not counted: jobs wait before the clock starts. Small backlogs are filled many times.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.compared.contenders import penstock_of
from benchmarks.compared.parts import tell
from benchmarks.compared.results import commit, default_path, machine, versions
from benchmarks.compared.servers import Servers, servers
from benchmarks.compared.sessions import Session, running
from benchmarks.dead_letters import fill
from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.message import encode_job
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import DEFAULT_TENANT, Queue
from penstock.workers.demo import FORM_ID
from penstock.workers.queues.control import QueueControl
from penstock.workers.settings import WorkerSettings

NAMESPACE, QUEUE = "penstock", Queue.SUBMISSIONS
GROWING = ("backlog", "scheduled", "dead", "rows")
PATIENCE_SECONDS = 600
#: Whose processor time a job's cost is.
PARTIES = ("workers", "postgresql", "redis")
_AT_ONCE = 1_000
_FILLED_AT_ONCE = 250_000
_DOOMED = "SELECT count(*) FROM penstock.dead_letters WHERE kind = 'compared.doomed'"
_FILL_ROWS = """
INSERT INTO penstock.submissions
       (submitted_at, received_at, submission_id, form_key, batch_id, form_id, answers)
SELECT now(), now(), gen_random_uuid(), %s, 'fill-' || n / 1000, %s, (%s::jsonb[])[1 + n %% 1000]
  FROM generate_series(1, %s) AS n
"""


class Scaling:
    """Measures, and keeps the figures.

    Args:
        jobs: tiny jobs to each round's cost; a tenth as many that die.
        rounds: of which a figure is the median.
    """

    def __init__(self, started: Servers, sizes: Sequence[int], jobs: int, rounds: int) -> None:
        self._servers = started
        self._sizes = sizes
        self._jobs = jobs
        self._rounds = rounds
        # Rewriting its file, as Redis does while a queue is filled, is no cost of the jobs that are measured then.
        started.redis.config_set("auto-aof-rewrite-percentage", 0)
        self._control = QueueControl(started.redis, NAMESPACE, "benchmark")
        self._enqueuer = Enqueuer(started.redis, NAMESPACE)

    def parts(self) -> dict[str, Callable[[], list[dict[str, Any]]]]:
        """By name."""
        return {
            "workers": self.workers,
            "connections": self.connections,
            "backlog": self.backlog,
            "scheduled": self.scheduled,
            "dead": self.dead,
            "rows": self.rows,
        }

    def workers(self) -> list[dict[str, Any]]:
        """Rows and tiny jobs a second with one to four worker processes."""
        return [self._throughput(processes, 4) for processes in range(1, 5)]

    def connections(self) -> list[dict[str, Any]]:
        """The same with two processes of one to eight threads."""
        return [self._throughput(2, threads) for threads in (1, 2, 4, 8)]

    def _throughput(self, processes: int, threads: int) -> dict[str, Any]:
        tell(f"  {processes} worker processes of {threads} threads")
        rows, jobs = len(self._servers.rows), self._jobs
        given = {"PENSTOCK_WORKER_THREADS": str(threads)}
        with running(penstock_of(processes), self._servers, environment=given) as session:
            stored = [rows / session.batches(f"s-{number}", rows).seconds for number in range(self._rounds)]
            tiny = [jobs / session.effects(jobs, 100).seconds for _ in range(self._rounds)]
            connections = self._servers.count("SELECT count(*) FROM pg_stat_activity WHERE usename = 'penstock_app'")
        return {
            "processes": processes,
            "threads": threads,
            "connections": connections,
            "rows_a_second": round(statistics.median(stored)),
            "tiny_jobs_a_second": round(statistics.median(tiny)),
        }

    def backlog(self) -> list[dict[str, Any]]:
        """What a tiny job costs with so many waiting."""
        return [self._with_session(size, partial(self._tiny_cost, backlog=size)) for size in self._sizes]

    def scheduled(self) -> list[dict[str, Any]]:
        """What a tiny job costs with so many due far ahead."""
        return [self._with_session(size, partial(self._cost_among_scheduled, size=size)) for size in self._sizes]

    def _cost_among_scheduled(self, session: Session, size: int) -> dict[str, float]:
        self._enqueue("compared.noop", size, timedelta(days=30))
        return self._tiny_cost(session, self._jobs)

    def _with_session(self, size: int, measure: Callable[[Session], dict[str, float]]) -> dict[str, Any]:
        tell(f"  {size:,}")
        with running(penstock_of(1), self._servers) as session:
            return {"size": size} | measure(session)

    def _tiny_cost(self, session: Session, backlog: int) -> dict[str, float]:
        """Microseconds of processor time a job, by who took them; the backlog is that at the start of each portion."""
        costs, waiting = [], 0
        for _ in range(self._rounds):
            cost, waiting = self._one_tiny_cost(session, backlog, waiting)
            costs.append(cost)
        return medians(costs)

    def _one_tiny_cost(self, session: Session, backlog: int, waiting: int) -> tuple[dict[str, float], int]:
        """One round's cost, and how many jobs wait afterwards."""
        used: dict[str, float] = {}
        done = 0
        while done < self._jobs:
            self._control.pause(QUEUE, "a round is prepared")
            self._enqueue("compared.tiny", backlog - waiting)
            before, ran = session.processor(), self._done()
            self._control.resume(QUEUE, "go")
            self._await(lambda: self._done() - ran, min(backlog, self._jobs - done))  # noqa: B023  used at once
            after, portion = session.processor(), self._done() - ran
            for name, seconds in _difference(before, after).items():
                used[name] = used.get(name, 0) + seconds
            done += portion
            waiting = backlog - portion
        return _cost(used, done), waiting

    def dead(self) -> list[dict[str, Any]]:
        """What a job costs that dies, from its lease to its letter, among so many letters."""
        found = []
        settings = WorkerSettings.from_environment(dict(self._servers.environment))
        for size in self._sizes:
            tell(f"  {size:,}")
            present = self._servers.count("SELECT count(*) FROM penstock.dead_letters")
            fill(self._servers.admin_url, settings, size - present)
            with running(penstock_of(1, ("penstock", "scheduler")), self._servers) as session:
                costs = [self._cost_of_deaths(session, self._jobs // 10) for _ in range(self._rounds)]
            found.append({"size": size} | medians(costs))
        return found

    def _cost_of_deaths(self, session: Session, jobs: int) -> dict[str, float]:
        doomed = self._servers.count(_DOOMED)
        self._enqueue("compared.doomed", jobs)
        before = session.processor()
        self._await(lambda: self._servers.count(_DOOMED), doomed + jobs)
        return _cost(_difference(before, session.processor()), jobs)

    def rows(self) -> list[dict[str, Any]]:
        """What a batch costs with so many rows in the partition that it goes to."""
        with running(penstock_of(1), self._servers) as session:
            return [{"size": size} | self._cost_among_rows(session, size) for size in self._sizes]

    def _cost_among_rows(self, session: Session, size: int) -> dict[str, float]:
        tell(f"  {size:,}")
        fill_rows(self._servers, size)
        costs, rows = [], len(self._servers.rows)
        for number in range(self._rounds):
            self._servers.admin.execute("CHECKPOINT")
            measured = session.batches(f"r-{size}-{number}", rows)
            used = {name: measured.processor[name] for name in PARTIES}
            costs.append({"rows_a_second": round(rows / measured.seconds)} | _cost(used, 1))
        return medians(costs)

    def _enqueue(self, kind: str, count: int, due: timedelta | None = None) -> None:
        now = datetime.now(UTC)
        for start in range(0, count, _AT_ONCE):
            jobs = [
                encode_job(_payload(kind), uuid4(), DEFAULT_TENANT, now, keep=timedelta(0), due=due)
                for _ in range(min(_AT_ONCE, count - start))
            ]
            self._enqueuer.enqueue(QUEUE, jobs)

    def _done(self) -> int:
        found: Any = self._servers.redis.hget(QueueKeys(NAMESPACE, QUEUE).key("meta"), "done")
        return int(found or 0)

    def _await(self, count: Callable[[], int], wanted: int) -> None:
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while count() < wanted:
            if time.monotonic() > ends_at:
                raise RuntimeError(f"{count()} of {wanted} jobs were done in time")
            time.sleep(0.05)


def fill_rows(started: Servers, size: int) -> None:
    """Have so many rows in this month's partition, with ids in no order."""
    missing = size - started.count("SELECT count(*) FROM penstock.submissions")
    answers = [json.dumps(json.loads(row)["answers"]) for row in started.rows[:1_000]]
    for start in range(0, missing, _FILLED_AT_ONCE):
        values = (started.form.form_key, FORM_ID, answers, min(_FILLED_AT_ONCE, missing - start))
        started.admin.execute(_FILL_ROWS.encode(), values)


def _payload(kind: str) -> EncodedPayload:
    body = b'{"effect_id":"%s"}' % str(uuid4()).encode() if kind == "compared.tiny" else b"{}"
    return EncodedPayload(kind, QUEUE, 1, body, None)


def medians(costs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of rounds, by name."""
    return {name: round(statistics.median(cost[name] for cost in costs), 1) for name in costs[0]}


def _difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in PARTIES}


def _cost(used: dict[str, float], jobs: int) -> dict[str, float]:
    each = {name: round(seconds / jobs * 1e6, 1) for name, seconds in used.items()}
    return each | {"total_us": round(sum(each.values()), 1)}


def told(part: str, figures: Sequence[dict[str, Any]]) -> str:
    """The figures as lines, and how far the costs of a growing part lie from the first one's."""
    lines = [f"{part}:", *(f"  {json.dumps(one)}" for one in figures)]
    if part in GROWING:
        least = figures[0]["total_us"]
        shares = ", ".join(f"{one['total_us'] / least:.2f}" for one in figures)
        lines.append(f"  of the first one's cost: {shares}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="workers,connections,backlog,scheduled,dead,rows")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000", help="of what grows, parted by commas")
    parser.add_argument("--row-sizes", default="10000,100000,1000000,10000000")
    parser.add_argument("--jobs", type=int, default=20_000, help="to each round of a cost; a tenth as many that die")
    parser.add_argument("--rounds", type=int, default=3, help="of which each figure is the median")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="to each round of a throughput, and of a batch's cost"
    )
    parser.add_argument("--into", type=Path, default=default_path("-scaling"))
    chosen = parser.parse_args()
    kept: dict[str, Any] = json.loads(chosen.into.read_text())["parts"] if chosen.into.exists() else {}
    with servers(chosen.rows) as started:
        for name in chosen.only.split(","):
            tell(name)
            sizes = chosen.row_sizes if name == "rows" else chosen.sizes
            scaling = Scaling(started, [int(size) for size in sizes.split(",")], chosen.jobs, chosen.rounds)
            kept[name] = scaling.parts()[name]()
            sys.stdout.write(told(name, kept[name]) + "\n")
            content = {"commit": commit(), "machine": machine(), "versions": versions(), "parts": kept}
            chosen.into.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
