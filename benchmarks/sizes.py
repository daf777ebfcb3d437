"""What rows cost: bytes in Redis, PostgreSQL and its log, and processor time of each process. For docs/capacity.md.

One run on servers of its own with fsync and the append-only file on: batches of real reports are enqueued while nobody
works, Redis is weighed, then one worker stores them all. Sizes hardly depend on the machine; processor times do.

`python -m benchmarks.sizes [--batches N] [--save]`: `--save` writes benchmarks/results/sizes.json, from which
`python -m docs.generate` makes the tables of docs/capacity.md.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import redis

from benchmarks.ingest import BATCH_ROWS, read_rows, servers, worker_processes
from penstock.producers import Producer
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.demo import FORM_FILE, FORM_ID
from penstock.workers.settings import WorkerSettings

RESULTS = Path(__file__).parent / "results" / "sizes.json"
_TICKS = os.sysconf("SC_CLK_TCK")
_STORED = "SELECT count(*) FROM penstock.submission_batches"
#: The months' partitions; of the ledgers, the tables that get a row for each batch.
_SIZES = """
SELECT sum(pg_table_size(c.oid)) FILTER (WHERE c.relname LIKE 'submissions%%'),
       sum(pg_indexes_size(c.oid)) FILTER (WHERE c.relname LIKE 'submissions%%'),
       sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN ('submission_batches', 'base_batches'))
  FROM pg_class c WHERE c.relnamespace = 'penstock'::regnamespace AND c.relkind = 'r'
"""


def processor_seconds(pid: int, *, with_dead_children: bool = False) -> float:
    """What a process has used; of a postmaster with what its backends had when they ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return sum(int(field) for field in fields[11 : 15 if with_dead_children else 13]) / _TICKS


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that live."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in told.split()]


class Meter:
    """Processor time of PostgreSQL, Redis and the workers, each as a whole."""

    def __init__(self, connection: "psycopg.Connection", client: "redis.Redis") -> None:
        ((data,),) = connection.execute("SHOW data_directory").fetchall()
        self._postmaster = int((Path(str(data)) / "postmaster.pid").read_text().splitlines()[0])
        self._redis = int(client.info("server")["process_id"])

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        backends = sum(processor_seconds(pid) for pid in children(self._postmaster))
        return {
            "postgresql": processor_seconds(self._postmaster, with_dead_children=True) + backends,
            "redis": processor_seconds(self._redis),
            "worker": sum(processor_seconds(pid) for pid in children(os.getpid()) if _is_worker(pid)),
            "producer": time.process_time(),
        }


def _is_worker(pid: int) -> bool:
    return b"penstock\0worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _wait_until(connection: "psycopg.Connection", batches: int) -> None:
    while True:
        ((done,),) = connection.execute(_STORED).fetchall()
        if done >= batches:
            return
        time.sleep(0.02)


def measure(batches: int) -> dict[str, float | str]:
    """One run; each figure carries its unit in its name."""
    with servers(4) as (admin_url, environment), redis.Redis.from_url(environment["REDIS_URL"]) as client:
        settings = WorkerSettings.from_environment(environment)
        rows = read_rows(settings, batches * BATCH_ROWS)
        with psycopg.connect(admin_url, autocommit=True) as connection:
            apply_form(connection, "default", FORM_ID, parse_form(FORM_FILE.read_bytes()))
            meter = Meter(connection, client)
            with Producer(settings.redis_url, namespace=settings.namespace) as producer:
                # What is there once, scripts and limits, is not what a batch costs.
                producer.submit(FORM_ID, rows[:BATCH_ROWS], batch_id="warm")
                before = meter.read()
                producer.submit(FORM_ID, rows, batch_id="sizes")
            enqueued, waiting = meter.read(), _bytes_a_job(client, settings.namespace)
            message = int(client.hget(f"{settings.namespace}:{{submissions}}:meta", "held_bytes") or 0)
            connection.execute("CHECKPOINT")
            ((wal,),) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchall()
            with worker_processes(environment, 1):
                working = meter.read()
                _wait_until(connection, batches + 1)
                ended = meter.read()
            ((wal_bytes,),) = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", (wal,)
            ).fetchall()
            ((table, indexes, ledger),) = connection.execute(_SIZES).fetchall()
            left = _bytes_a_job(client, settings.namespace)
        stored = (batches + 1) * BATCH_ROWS
        return {
            "measured_on": datetime.now(UTC).date().isoformat(),
            "batches": batches,
            "rows_a_batch": BATCH_ROWS,
            "json_bytes_a_row": round(sum(map(len, rows)) / len(rows), 1),
            "message_bytes_a_batch": round(message / (batches + 1)),
            "redis_bytes_a_waiting_batch": waiting,
            "redis_bytes_a_done_batch": left,
            "table_bytes_a_row": round(float(table) / stored, 1),
            "index_bytes_a_row": round(float(indexes) / stored, 1),
            "ledger_bytes_a_batch": round(float(ledger) / (batches + 1)),
            "wal_bytes_a_row": round(float(wal_bytes) / stored, 1),
            "producer_ms_a_batch": round((enqueued["producer"] - before["producer"]) * 1_000 / batches, 2),
            "worker_ms_a_batch": round((ended["worker"] - working["worker"]) * 1_000 / (batches + 1), 2),
            "postgresql_ms_a_batch": round((ended["postgresql"] - working["postgresql"]) * 1_000 / (batches + 1), 2),
            "redis_ms_a_batch": round((ended["redis"] - before["redis"]) * 1_000 / batches, 2),
        }


def _bytes_a_job(client: "redis.Redis", namespace: str) -> int:
    """What the record of a job takes in Redis, its message included, of a hundred of them."""
    records = [key for key, _ in zip(client.scan_iter(f"{namespace}:{{submissions}}:job:*"), range(100), strict=False)]
    return round(sum(client.memory_usage(key, samples=0) or 0 for key in records) / len(records))


def main() -> None:
    """Measure, print, and write the results where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/sizes.json")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.batches), indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.save:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
