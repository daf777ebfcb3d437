"""Submissions end to end against COPY of the same rows into the same table.

Each round measures both, in alternation, on the same servers with fsync on:

* `copy`: one connection copies the rows, ready-made, in binary, into a partitioned table like `submissions` with the
  same indexes, in one transaction; nothing else is done with them. This is PostgreSQL's own limit.
* `penstock`: a producer cuts the rows into batches and enqueues them; worker processes decode, judge, claim and store
  them; the clock runs from the first row read to the last batch committed.

`python -m benchmarks.ingest [--rounds N] [--rows N] [--workers N] [--threads N] [--json]`
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import psycopg

from penstock.migrations.runner import Migrator
from penstock.producers import Producer
from penstock.producers.storage.batches import batches_of_base
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.database.pool import open_pool
from penstock.workers.demo import FORM_FILE, FORM_ID, SUBMISSIONS_FILE
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey
from penstock.workers.handover.files import open_submissions
from penstock.workers.run import assemble
from penstock.workers.settings import WorkerSettings
from penstock.workers.submissions.accepted import Accepted
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block
from penstock.workers.submissions.identities import Identity
from penstock.workers.submissions.rows import judge_rows

BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured."""

    rounds: int
    rows: int
    workers: int
    threads: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round's rates, in rows a second."""

    copy: float
    penstock: float

    @property
    def ratio(self) -> float:
        """Penstock's share of COPY's rate."""
        return self.penstock / self.copy


def read_rows(settings: WorkerSettings, count: int) -> list[bytes]:
    """`count` good rows: the demonstration's file, over and over."""
    with open_submissions(SUBMISSIONS_FILE, settings.limits) as file:
        good = [row for row in file.rows() if b'"damage":"C"' not in row and b'"damage":"B"' not in row]
    return list(islice(cycle(good), count))


def time_copy(admin_url: str, accepted: list[Accepted], form_key: int) -> float:
    """Rows a second of one connection that does nothing but COPY, in one transaction."""
    received_us = int(time.time() * 1_000_000)
    blocks = [
        copy_block(
            [
                rows_block(
                    accepted[start : start + BATCH_ROWS],
                    form_key=form_key,
                    form_id=FORM_ID,
                    batch_id=f"copy-{start}",
                    received_us=received_us,
                )
            ]
        )
        for start in range(0, len(accepted), BATCH_ROWS)
    ]
    with psycopg.connect(admin_url) as connection:
        connection.execute("TRUNCATE penstock.submissions")
        connection.commit()
        started = time.perf_counter()
        for block in blocks:
            copy = f"COPY penstock.submissions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
            with connection.cursor() as cursor, cursor.copy(copy.encode()) as stream:
                stream.write(block)
        connection.commit()
        return len(accepted) / (time.perf_counter() - started)


def time_penstock(settings: WorkerSettings, admin_url: str, rows: list[bytes], batch_id: str) -> float:
    """Rows a second from the first row read to the last batch committed; the workers are running."""
    batches = -(-len(rows) // BATCH_ROWS)
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("TRUNCATE penstock.submissions")
        with Producer(settings.redis_url, namespace=settings.namespace) as producer:
            started = time.perf_counter()
            producer.submit(FORM_ID, rows, batch_id=batch_id)
            while True:
                count = (
                    "SELECT count(*) FROM penstock.submission_batches WHERE tenant = 'default' AND base_batch_id = %s"
                )
                ((done,),) = connection.execute(count, (batch_id,)).fetchall()
                if done == batches:
                    break
                time.sleep(0.005)
            seconds = time.perf_counter() - started
        stored = sum(batch.stored for batch in batches_of_base(connection, "default", batch_id))
        if stored != len(rows):
            raise RuntimeError(f"{stored} of {len(rows)} rows were stored: the measurement is void")
    return len(rows) / seconds


@contextmanager
def worker_processes(environment: dict[str, str], count: int) -> Iterator[None]:
    """Run workers, ready ones."""
    command = [str(Path(sys.executable).parent / "penstock"), "worker"]
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(number) for number in range(count)]
        started = []
        try:
            for log in logs:
                with log.open("wb") as stream:
                    started.append(subprocess.Popen(command, env=environment, stderr=stream))
            while not all("the worker is ready" in log.read_text() for log in logs):
                if any(process.poll() is not None for process in started):
                    raise RuntimeError("a worker has ended:\n" + "".join(log.read_text()[-4_000:] for log in logs))
                time.sleep(0.05)
            yield
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(timeout=30)


@contextmanager
def servers(threads: int) -> Iterator[tuple[str, dict[str, str]]]:
    """PostgreSQL and Valkey of this run's own: a superuser's URL, and a worker's environment."""
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))))
        home.lock()
        postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
        urls = postgres.start()
        stack.callback(postgres.stop)
        redis_url = valkey.start()
        stack.callback(valkey.stop)
        Migrator(urls.admin).up()
        grant_app_roles(urls.admin, postgres.app_password)
        yield (
            urls.admin,
            {
                "PATH": os.environ["PATH"],
                "DATABASE_URL": urls.app,
                "REDIS_URL": redis_url,
                "PENSTOCK_WORKER_THREADS": str(threads),
            },
        )


def measure(options: Options) -> list[Round]:
    """Run the rounds; one round before them warms up and is not counted."""
    with servers(options.threads) as (admin_url, environment):
        settings = WorkerSettings.from_environment(environment)
        rows = read_rows(settings, options.rows)
        with psycopg.connect(admin_url) as connection:
            apply_form(connection, "default", FORM_ID, parse_form(FORM_FILE.read_bytes()))
        with open_pool(settings, "penstock-bench") as pool:
            form = assemble(settings, pool).forms.get("default", FORM_ID)
        now_us = int(time.time() * 1_000_000)
        judged = judge_rows(b"[" + b",".join(rows) + b"]", form, Identity("copy", 0, now_us))
        accepted = sorted(judged.accepted, key=lambda row: row.submission_id)
        rounds = []
        with worker_processes(environment, options.workers):
            for number in range(options.rounds + 1):
                copied = time_copy(admin_url, accepted, form.form_key)
                stored = time_penstock(settings, admin_url, rows, f"bench-{number}")
                rounds.append(Round(copied, stored))
        return rounds[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes (one a core)")
    parser.add_argument("--threads", type=int, default=WorkerSettings.model_fields["threads"].default)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds = measure(Options(arguments.rounds, arguments.rows, arguments.workers, arguments.threads))
    ratio = statistics.median(each.ratio for each in rounds)
    if arguments.json:
        told = {"rounds": [{"copy": each.copy, "penstock": each.penstock} for each in rounds], "ratio": ratio}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    for each in rounds:
        sys.stdout.write(
            f"COPY {each.copy:10,.0f} rows/s   penstock {each.penstock:10,.0f} rows/s   {each.ratio:.2f}\n"
        )
    sys.stdout.write(f"median ratio {ratio:.2f} ({arguments.workers} worker process(es), {arguments.rows:,} rows)\n")


if __name__ == "__main__":
    main()
