"""How soon a job on an idle queue starts, and what an idle worker costs Redis.

A worker process waits on an empty queue; one job after the other is enqueued, each when the one before is done. The
time runs from before the call that enqueues to the first line of the job's actor, by the machine's monotonic clock.
Then nothing is enqueued, and MONITOR counts what clients send (what a script does within Redis is no call of a client).

`python -m benchmarks.pickup [--jobs N] [--idle SECONDS] [--json]`
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import redis

from penstock.migrations.runner import Migrator
from penstock.producers import Producer
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.embedded.app_roles import grant_app_roles
from penstock.workers.embedded.home import Home
from penstock.workers.embedded.postgres import EmbeddedPostgres
from penstock.workers.embedded.valkey import EmbeddedValkey

PROBES = Path(__file__).parents[1] / "tests" / "recovery" / "kinds"
PATIENCE_SECONDS = 30.0


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL and Valkey of the run's own, as an environment of a worker."""
    home = Home(folder).lock()
    postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
    with ExitStack() as stack:
        stack.callback(home.unlock)
        urls = postgres.start()
        stack.callback(postgres.stop)
        redis_url = valkey.start()
        stack.callback(valkey.stop)
        Migrator(urls.admin).up()
        grant_app_roles(urls.admin, postgres.app_password)
        with psycopg.connect(urls.admin, autocommit=True) as connection:
            connection.execute("CREATE TABLE effects_seen (job_id uuid, worker int)")
            connection.execute("GRANT INSERT ON effects_seen TO PUBLIC")
        yield {"DATABASE_URL": urls.app, "REDIS_URL": redis_url, "ADMIN_URL": urls.admin}


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    """One worker process, ready."""
    command = [str(Path(sys.executable).parent / "penstock"), "worker"]
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"the worker is ready" in line:
            break
    # Somebody must read on, or the worker would wait for room in the pipe.
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        reader.join()
        process.stderr.close()


def pick_up(producer: Producer, starts: Path, number: int) -> float:
    """Enqueue one job and return the seconds until it started. Its actor notes the moment in `starts`."""
    body = json.dumps({"name": f"job-{number}"}).encode()
    enqueued_at = time.monotonic()
    job = producer.enqueue(EncodedPayload("probe.unguarded", Queue.SUBMISSIONS, 1, body, None))
    ends_at = enqueued_at + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        record = producer.job(job.job_id)
        if record is not None and record.state == "done":
            job_id, _, started_at = starts.read_text().splitlines()[-1].split()
            assert job_id == str(job.job_id)
            return float(started_at) - enqueued_at
        time.sleep(0.002)
    raise SystemExit("a job was not done in time")


def idle_calls(url: str, seconds: float) -> Counter[str]:
    """What clients send to Redis in that time, by the command's name."""
    seen: Counter[str] = Counter()
    ended = threading.Event()

    def end() -> None:
        ended.set()
        with redis.Redis.from_url(url) as client:
            client.ping()

    timer = threading.Timer(seconds, end)
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        timer.start()
        while not ended.is_set():
            heard = monitor.next_command()
            if heard["client_type"] != "lua" and not ended.is_set():
                seen[heard["command"].split()[0].upper()] += 1
    timer.join()
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.pickup", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds for which an idle worker is listened to")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, servers(Path(folder) / "home") as urls:
        starts = Path(folder) / "starts"
        own = {"PENSTOCK_ACTORS": "probe_actors", "PYTHONPATH": str(PROBES), "PENSTOCK_TEST_STARTS": str(starts)}
        with worker(urls | own), Producer.from_environment(urls) as producer:
            waits = [pick_up(producer, starts, number) for number in range(chosen.jobs)]
            calls = idle_calls(urls["REDIS_URL"], chosen.idle)
    report(waits, calls, chosen.idle, as_json=chosen.json)


def report(waits: list[float], calls: Counter[str], seconds: float, *, as_json: bool) -> None:
    """Print the figures."""
    milliseconds = sorted(wait * 1000 for wait in waits)
    figures = {
        "jobs": len(waits),
        "median_ms": round(statistics.median(milliseconds), 2),
        "p99_ms": round(milliseconds[int(len(milliseconds) * 0.99)], 2),
        "longest_ms": round(milliseconds[-1], 2),
        "idle_calls_a_second": round(calls.total() / seconds, 2),
        "idle_calls": dict(calls),
    }
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(
        f"a job on an idle queue starts after {figures['median_ms']} ms (median), {figures['p99_ms']} ms (99 %),"
        f" {figures['longest_ms']} ms (longest of {len(waits)})\n"
        f"an idle worker calls Redis {figures['idle_calls_a_second']} times a second on its queue: {dict(calls)}\n"
    )


if __name__ == "__main__":
    main()
