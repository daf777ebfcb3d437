"""A stream through the gateway, from the socket to committed rows, against COPY of the same rows into the same table.

Each round measures both, in alternation, on the same servers with fsync on: COPY as `benchmarks/ingest.py` has it, and
one request that brings the rows as lines, from its first byte to the last batch committed. Then a stream of a gigabyte:
what it takes of the gateway's memory.

`python -m benchmarks.gateway [--rounds N] [--rows N] [--bytes N] [--workers N] [--json]`
"""

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import psycopg

from benchmarks.ingest import read_rows, servers, time_copy, worker_processes
from benchmarks.serving import GatewayProcess, gateway_process
from penstock.producers.storage.batches import batches_of_base
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.workers.database.pool import open_pool
from penstock.workers.demo import FORM_FILE, FORM_ID
from penstock.workers.run import assemble
from penstock.workers.settings import WorkerSettings
from penstock.workers.submissions.accepted import Accepted
from penstock.workers.submissions.identities import Identity
from penstock.workers.submissions.rows import judge_rows

_PIECE_ROWS = 5_000
_THREADS = 4


@dataclass(frozen=True, slots=True)
class Streamed:
    """A stream that was stored. Seconds from its first byte: to the answer, and to the last batch committed."""

    rows: int
    accepted_seconds: float
    committed_seconds: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and where its rows are."""

    gateway: GatewayProcess
    admin_url: str

    def stream(self, rows: list[bytes], name: str) -> Streamed:
        """Send rows, and wait until they are stored."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute("TRUNCATE penstock.submissions")
            length = sum(map(len, rows)) + len(rows)
            began = time.perf_counter()
            accepted = _send(self.gateway.port, _pieces(rows), length, name)
            answered = time.perf_counter()
            _await_batches(connection, name, accepted["batch_count"])
            committed = time.perf_counter()
            stored = sum(batch.stored for batch in batches_of_base(connection, "default", name))
        if not stored == accepted["rows"] == len(rows):
            raise RuntimeError(f"{stored} of {len(rows)} rows were stored: the measurement is void")
        return Streamed(stored, answered - began, committed - began)


def _pieces(rows: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(rows), _PIECE_ROWS):
        yield b"\n".join(rows[start : start + _PIECE_ROWS]) + b"\n"


def _send(port: int, pieces: Iterator[bytes], length: int, name: str) -> dict[str, Any]:
    """One request by hand: what a client's library takes of the processor is not the gateway's."""
    head = (
        f"POST /v1/forms/{FORM_ID}/submissions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
        f"Idempotency-Key: {name}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(piece)
        while part := connection.recv(65_536):
            answer += part
    if not answer.startswith(b"HTTP/1.1 202"):
        raise RuntimeError(answer[:2_000].decode(errors="replace"))
    told: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return told


def _await_batches(connection: psycopg.Connection[Any], name: str, count: int) -> None:
    done = "SELECT count(*) FROM penstock.submission_batches WHERE tenant = 'default' AND base_batch_id = %s"
    while connection.execute(done, (name,)).fetchone() != (count,):
        time.sleep(0.01)


def _accepted(settings: WorkerSettings, rows: list[bytes]) -> tuple[list[Accepted], int]:
    """The rows as they are stored, for COPY, and the key of their form."""
    with psycopg.connect(settings.database_url) as connection:
        apply_form(connection, "default", FORM_ID, parse_form(FORM_FILE.read_bytes()))
    with open_pool(settings, "penstock-bench") as pool:
        form = assemble(settings, pool).forms.get("default", FORM_ID)
    now_us = int(time.time() * 1_000_000)
    judged = judge_rows(b"[" + b",".join(rows) + b"]", form, Identity("copy", 0, now_us))
    return sorted(judged.accepted, key=lambda row: row.submission_id), form.form_key


def measure(rounds: int, row_count: int, length: int, workers: int) -> dict[str, Any]:
    """Run the rounds, of which the first warms up and is not counted, and the long stream."""
    with servers(_THREADS) as (admin_url, environment):
        settings = WorkerSettings.from_environment(environment)
        rows = read_rows(settings, row_count)
        accepted, form_key = _accepted(settings, rows)
        told: list[dict[str, float]] = []
        with worker_processes(environment, workers), gateway_process(environment) as gateway:
            bench = Bench(gateway, admin_url)
            for number in range(rounds + 1):
                copied = time_copy(admin_url, accepted, form_key)
                streamed = bench.stream(rows, f"stream-{number}")
                rate = streamed.rows / streamed.committed_seconds
                told.append({"copy": copied, "gateway": rate, "ratio": rate / copied})
            found: dict[str, Any] = {"rounds": told[1:], "memory_mb_before": gateway.memory_mb("VmHWM")}
            if length:
                found |= _long(bench, rows, length)
    return found | {"ratio": statistics.median(one["ratio"] for one in told[1:])}


def _long(bench: Bench, rows: list[bytes], length: int) -> dict[str, Any]:
    average = sum(map(len, rows)) / len(rows) + 1
    streamed = bench.stream(list(islice(cycle(rows), int(length / average))), "long")
    return {
        "long_rows": streamed.rows,
        "long_accepted_per_second": streamed.rows / streamed.accepted_seconds,
        "long_committed_per_second": streamed.rows / streamed.committed_seconds,
        "memory_mb": bench.gateway.memory_mb("VmHWM"),
    }


def main() -> None:
    """Measure and print; the exit code is 1 where the gateway took 200 MiB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=10**9, help="of the long stream; 0 for none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.rounds, chosen.rows, chosen.bytes, chosen.workers)
    found["load_average"] = os.getloadavg()[0]
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for one in found["rounds"]:
            sys.stdout.write(
                f"COPY {one['copy']:10,.0f} rows/s   gateway {one['gateway']:10,.0f} rows/s   {one['ratio']:.2f}\n"
            )
        sys.stdout.write(f"median ratio {found['ratio']:.2f}; {found}\n")
    sys.exit(int(found.get("memory_mb", 0) >= 200))


if __name__ == "__main__":
    main()
