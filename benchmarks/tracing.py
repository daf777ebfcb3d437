"""What traces cost a job: the same jobs through real workers without their hooks, with traces off, and with them on.

Without: the hooks of traces are taken out of the worker. Off: as it is shipped, without settings. On: every job's spans
go to a collector on this machine, which only counts them. A round is as in `benchmarks.gates`, whose kinds these are.

`python -m benchmarks.tracing [--jobs N] [--rounds N] [--threads N] [--json]`
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import psycopg
import redis

from benchmarks.gated._gates import VARIABLE
from benchmarks.gates import KINDS, Side
from benchmarks.pickup import servers
from penstock.producers.spans import NOTHING
from penstock.workers import run
from penstock.workers.cli import main as penstock
from penstock.workers.database import transaction
from penstock.workers.middleware import middleware
from penstock.workers.middleware.traces import TraceJobs
from penstock.workers.telemetry import queries

WITHOUT, OFF, ON = "without", "off", "on"
#: Where it is set, `main` is a worker without the hooks.
HOOKLESS = "PENSTOCK_BENCH_HOOKLESS"


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a request, and say so."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def sink() -> Iterator[str]:
    """A collector that keeps nothing; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _NoSpan:
    """In the place of a transaction's span."""

    def begin(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def run_as_worker(*, hookless: bool) -> None:
    """Be a worker; where it is to be hookless, as if there were no traces."""
    if hookless:
        none = _NoSpan()
        transaction.TransactionSpan = lambda: none
        queries.statement_span = lambda *_: NOTHING
        run.middleware = lambda: [one for one in middleware() if not isinstance(one, TraceJobs)]
    sys.argv[1:] = ["worker"]
    sys.exit(penstock())


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[int]:
    """One worker process; yields its id."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracing"], env=os.environ | environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measure(environment: dict[str, str], client: redis.Redis, chosen: argparse.Namespace) -> list[Side]:
    """All rounds, after one that warms up."""
    told = {"PENSTOCK_WORKER_THREADS": str(chosen.threads), "PENSTOCK_LOG_LEVEL": "error"}
    with ExitStack() as stack:
        own = {
            WITHOUT: {HOOKLESS: "1"},
            OFF: {HOOKLESS: "0"},
            ON: {HOOKLESS: "0", "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(sink())},
        }
        sides = []
        for name, env in own.items():
            place = {VARIABLE: "none", "PENSTOCK_NAMESPACE": f"bench-{name}", "PENSTOCK_ACTORS": "benchmarks.gated"}
            pid = stack.enter_context(worker(environment | told | place | env))
            sides.append(Side(name, client, f"bench-{name}", pid))
        for kind in KINDS:
            for number in range(chosen.rounds + 1):
                for place_of in range(len(sides)):
                    side = sides[(place_of + number) % len(sides)]
                    (side.measure if number else side.run)(kind, chosen.jobs)
    return sides


def figures(sides: list[Side], jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """By kind and side: milliseconds from one job's end to the next one's, and the ratios to the first side."""
    without = sides[0]
    return {
        kind: {
            side.gates: {
                "ms_a_job": round(statistics.median(side.seconds[kind]) * 1_000 / jobs, 4),
                "ratio": round(
                    statistics.median(
                        own / other for own, other in zip(side.seconds[kind], without.seconds[kind], strict=True)
                    ),
                    3,
                ),
                "processor_ratio": round(side.processor[kind] / without.processor[kind], 3),
            }
            for side in sides
        }
        for kind in KINDS
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.tracing", description=__doc__.partition("\n")[0])
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
            found = figures(measure(urls, client, chosen), chosen.jobs)
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for kind, sides in found.items():
        for name, told in sides.items():
            sys.stdout.write(
                f"{kind}, traces {name}: {told['ms_a_job']} ms a job, {told['ratio']} of without"
                f" ({told['processor_ratio']} of its processor time)\n"
            )


if __name__ == "__main__":
    if HOOKLESS in os.environ:
        run_as_worker(hookless=os.environ[HOOKLESS] == "1")
    else:
        main()
