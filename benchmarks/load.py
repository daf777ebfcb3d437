"""The gateway under load, with a worker and both servers on the same machine.

Phases of so many requests a second and a drain; then so many users at once, each of whom sends the next request when
the last one is answered. At the end every row that was accepted is looked for: each is there once.

`python -m benchmarks.load [--phases 10,50,100] [--phase-seconds 30] [--users 100,1000] [--seconds 60] [--workers N]
[--json]`
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ingest import servers, worker_processes
from benchmarks.serving import GatewayProcess, Watch, gateway_process
from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.names import Queue
from penstock.workers.demo import FORM_FILE, FORM_ID

_USERS = Path(__file__).parent / "load_users.py"
#: Users that join in a second.
_RAMP = 5
_THREADS = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """So many users for so long. `rate`: requests a second of each; 0 for as many as are answered."""

    name: str
    users: int
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class System:
    """What is under load."""

    gateway: GatewayProcess
    admin_url: str
    environment: dict[str, str]

    def run(self, stage: Stage, folder: Path) -> dict[str, Any]:
        """Let the users come; returns what they and the system saw. Their rows' ids are appended to `folder/ids`."""
        accepted, told = folder / "accepted", folder / "told"
        ramp = min(_RAMP, stage.seconds)
        command = [
            *(
                sys.executable,
                "-m",
                "locust",
                "-f",
                str(_USERS),
                "--headless",
                "--only-summary",
                "--loglevel",
                "WARNING",
            ),
            *("--host", self.gateway.url, "--users", str(stage.users), "--spawn-rate", str(stage.users / ramp)),
            *("--run-time", f"{stage.seconds + ramp:.0f}s", "--stop-timeout", "60"),
        ]
        variables = {"LOAD_RATE": str(stage.rate), "LOAD_ACCEPTED": str(accepted), "LOAD_TOLD": str(told)}
        with Watch(self.gateway, self.admin_url, self.environment["REDIS_URL"]) as watch:
            done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        if not told.exists():
            raise RuntimeError(f"locust told nothing:\n{done.stderr[-4_000:]}")
        with (folder / "ids").open("a") as ids:
            ids.write(accepted.read_text())
        found: dict[str, Any] = json.loads(told.read_text())
        answered = sum(count for status, count in found["answers"].items() if status != "503")
        told.unlink()
        if not found["accepted_rows"]:
            raise RuntimeError(f"no row was accepted: the measurement is void\n{found['errors']}")
        return {"stage": stage.name, "per_second": answered / stage.seconds, **found, **watch.most}

    def drain(self) -> float:
        """Seconds until nothing waits any more."""
        began = time.monotonic()
        with connect(self.environment["REDIS_URL"]) as client:
            inspector = QueueInspector(client, "penstock")
            while (now := inspector.counts(Queue.SUBMISSIONS)).ready + now.leased + now.scheduled:
                time.sleep(0.05)
        return time.monotonic() - began

    def missing_and_double(self, ids: Path) -> tuple[int, int]:
        """Rows that were accepted and are not there; rows that are there more than once."""
        with psycopg.connect(self.admin_url) as connection:
            connection.execute("CREATE TEMP TABLE accepted (id uuid)")
            with connection.cursor() as cursor, cursor.copy("COPY accepted FROM STDIN") as copy:
                copy.write(ids.read_bytes())
            missing = "SELECT count(*) FROM accepted a WHERE NOT EXISTS (SELECT FROM penstock.submissions s"
            double = "SELECT count(*) - count(DISTINCT submission_id) FROM penstock.submissions"
            ((first,),) = connection.execute(f"{missing} WHERE s.submission_id = a.id)".encode()).fetchall()
            ((second,),) = connection.execute(double).fetchall()
        return int(first), int(second)


def measure(stages: list[Stage], workers: int) -> dict[str, Any]:
    """Run the stages, and look for the rows."""
    with (
        servers(_THREADS) as (admin_url, environment),
        tempfile.TemporaryDirectory() as name,
        worker_processes(environment, workers),
        gateway_process(environment) as gateway,
    ):
        gateway.ask("PUT", f"/v1/forms/{FORM_ID}", json.loads(FORM_FILE.read_bytes()))
        system = System(gateway, admin_url, environment)
        told = []
        for stage in stages:
            told.append(system.run(stage, Path(name)))
            told[-1]["drained_after_seconds"] = system.drain()
        missing, double = system.missing_and_double(Path(name) / "ids")
        most = gateway.memory_mb("VmHWM")
    return {"stages": told, "missing": missing, "double": double, "gateway_most_mb": most}


def _tell(found: dict[str, Any]) -> None:
    for one in found["stages"]:
        times = "  ".join(f"{name} {one[f'{name}_ms']:,.0f}" for name in ("mean", "p50", "p95", "p99", "max"))
        sys.stdout.write(
            f"{one['stage']:>14}: {one['per_second']:8,.0f} answers/s  ms: {times}  answers {one['answers']}"
            f"  errors {one['errors']}  rows {one['accepted_rows']:,}"
            f"  drained after {one['drained_after_seconds']:.1f} s"
            f"  gateway {one.get('gateway_mb')} MiB, {one.get('gateway_connections')} connections, PostgreSQL"
            f" {one.get('postgresql_connections')}, Redis {one.get('redis_connections')}, load"
            f" {one.get('load_average')}\n"
        )
    sys.stdout.write(
        f"accepted and missing: {found['missing']}, there twice: {found['double']},"
        f" the most that the gateway took: {found['gateway_most_mb']:.0f} MiB\n"
    )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    """Measure and print; the exit code is 1 where a row is missing or twice there, or an answer was an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", type=_numbers, default=[10, 50, 100], help="requests a second")
    parser.add_argument("--phase-seconds", type=float, default=30)
    parser.add_argument("--users", type=_numbers, default=[100, 1_000], help="at once")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    # A user who sends one request a second each.
    stages = [Stage(f"{rate} requests/s", rate, 1, chosen.phase_seconds) for rate in chosen.phases]
    stages += [Stage(f"{users} users", users, 0, chosen.seconds) for users in chosen.users]
    found = measure(stages, chosen.workers)
    if chosen.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        _tell(found)
    sys.exit(int(bool(found["missing"] or found["double"] or any(one["errors"] for one in found["stages"]))))


if __name__ == "__main__":
    main()
