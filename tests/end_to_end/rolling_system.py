"""Two releases side by side on one database and one Redis: their processes, services that send, and commands."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self
from uuid import UUID

import httpx
import psycopg
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.storage.forms import apply_form
from penstock.schemas.forms import parse_form
from penstock.schemas.identity import job_id
from penstock.schemas.names import Queue
from tests import forked
from tests.end_to_end.rolling_tree import NEXT, NOW, make_next_release
from tests.recovery.servers import free_port
from tests.system import BIN, PATIENCE_SECONDS, Database, Run, wait_for

_HERE = Path(__file__).parent
_FORM = parse_form(json.dumps({"title": "T", "questions": [{"id": "q", "text": "?", "type": "text"}]}))
_TABLE = """
    CREATE TABLE public.notes_written (job_id uuid NOT NULL, name text NOT NULL, words text[] NOT NULL);
    GRANT INSERT ON public.notes_written TO PUBLIC;
"""
_SETTINGS = {
    "PENSTOCK_ACTORS": "note_actors",
    # What nobody knows stays parked where a test looks at it. Who knows it says so, and is offered it at once.
    "PENSTOCK_UNKNOWN_KIND_OFFER_SECONDS": "3600",
    "PENSTOCK_WORKER_THREADS": "2",
    "PENSTOCK_POOL_MIN": "1",
    "PENSTOCK_POOL_MAX": "4",
}
#: A row of the outbox that one scheduler could not relay is looked at again soon.
_OF_SCHEDULERS = {"PENSTOCK_UNKNOWN_KIND_OFFER_SECONDS": "1"}


@dataclass(slots=True)
class Running:
    """A process of one of the releases, and what it logged."""

    name: str
    process: "subprocess.Popen[bytes]"
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Take in its log until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def told(self, text: str) -> bool:
        """Whether its log has this."""
        return any(text in line for line in list(self.lines))

    def wait_until_told(self, text: str) -> None:
        """Wait for a line of its log."""
        wait_for(lambda: self.told(text) or self.process.poll() is not None, f"{self.name} to say {text!r}")
        assert self.told(text), "\n".join(self.lines[-20:])

    def drain(self) -> int:
        """As a platform stops it in a roll-out; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def codes(self) -> set[str]:
        """The error codes of its log, and `Traceback` where it met something else."""
        found = {str(json.loads(line).get("code", "")) for line in self.lines if line.startswith("{")} - {""}
        return found | {"Traceback" for line in self.lines if "Traceback" in line}


class Told:
    """A process that answers each line on its standard input with one line of JSON."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout

    def tell(self, line: str) -> None:
        """Send a line."""
        self._in.write(f"{line}\n".encode())
        self._in.flush()

    def answer(self) -> Any:
        """The next answer."""
        return json.loads(self._out.readline())


class Service(Told):
    """A service that sends jobs; see `rolling_producer`."""

    accepted: dict[str, int]

    def send(self, rounds: int) -> None:
        """Send some rounds, and have them accepted."""
        self.tell(str(rounds))
        self.accepted = self.answer()

    def run(self) -> None:
        """Send until it is told to pause."""
        self.tell("run")

    def pause(self) -> None:
        """Send no more."""
        self.tell("0")
        self.answer()
        self.accepted = self.answer()


class RollingSystem:
    """Both releases. Use it as a context manager: it stops what it started.

    Attributes:
        started: all processes of both releases that it ever started.
        names: what the page's NEXT, LAST, NAME, LABEL and ID stand for.
    """

    def __init__(self, environment: dict[str, str], database: Database, folder: Path) -> None:
        self.database = database
        self.next = make_next_release(folder / "next")
        number = self.next.migration
        self.names = {"NEXT": str(number), "LAST": str(number - 1), "NAME": "stars", "LABEL": f"{number:04d} stars"}
        paths = {NOW: f"{_HERE / 'rolling_kinds' / 'now'}"}
        paths[NEXT] = f"{self.next.path}:{_HERE / 'rolling_kinds' / 'next'}"
        self._environments = {
            release: environment
            | _SETTINGS
            | {"PYTHONPATH": path, "PENSTOCK_METRICS_DIR": str(folder / f"metrics-{release}")}
            for release, path in paths.items()
        }
        self._stack = ExitStack()
        self.started: dict[str, list[Running]] = {NOW: [], NEXT: []}
        self.sidecars: dict[str, str] = {}
        self.client: redis.Redis = connect(environment["REDIS_URL"])
        self._inspector = QueueInspector(self.client, environment["PENSTOCK_NAMESPACE"])
        self.keys = QueueKeys(environment["PENSTOCK_NAMESPACE"], Queue.SUBMISSIONS)

    def __enter__(self) -> Self:
        self._stack.callback(self.client.close)
        self.database.query(_TABLE)
        with psycopg.connect(self.database.admin_url) as connection:
            apply_form(connection, "default", "f", _FORM)
        self.services = {
            release: Service(self._script(release, "rolling_producer.py", release)) for release in (NOW, NEXT)
        }
        self._commands = Told(self._script(NEXT, "rolling_commands.py"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, release: str, process_type: str) -> Running:
        """Start a process of a release; it may not be ready yet."""
        variables = self._environments[release]
        if process_type == "sidecar":
            port = free_port()
            self.sidecars[release] = f"http://127.0.0.1:{port}/health/ready"
            variables = variables | {"PENSTOCK_SIDECAR_LISTEN": f"127.0.0.1:{port}"}
        if process_type == "scheduler":
            variables = variables | _OF_SCHEDULERS
        if release == NOW:
            process = forked.start([process_type], variables, stderr=subprocess.PIPE)
        else:
            # The forking servers have this release's modules.
            process = subprocess.Popen([BIN / "penstock", process_type], env=variables, stderr=subprocess.PIPE)
        running = Running(f"{process_type} {release}", process)
        reader = threading.Thread(target=running.read)
        reader.start()
        # In the reverse order: what still runs is killed, then its log ends.
        self._stack.callback(process.stderr.close)  # type: ignore[union-attr]
        self._stack.callback(reader.join)
        self._stack.callback(_kill, process)
        self.started[release].append(running)
        return running

    def start_all(self, release: str, *process_types: str) -> None:
        """Start processes of a release at once, and wait until all are ready."""
        for one in [self.start(release, process_type) for process_type in process_types]:
            one.wait_until_told("is ready")

    def _script(self, release: str, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, _HERE / name, *arguments],
            env=self._environments[release],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for stream in (process.stdin, process.stdout):
            self._stack.callback(stream.close)  # type: ignore[union-attr]
        self._stack.callback(_kill, process)
        return process

    def penstock(self, *arguments: str) -> Run:
        """Run a command of the next release."""
        self._commands.tell(json.dumps(arguments))
        answer = self._commands.answer()
        return Run(answer["code"], answer["out"], answer["err"])

    def penstock_now(self, *arguments: str) -> Run:
        """Run a command of this release."""
        done = forked.run(arguments, self._environments[NOW])
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    def readiness(self, release: str) -> int:
        """The status that the sidecar of a release answers a readiness probe with."""
        return httpx.get(self.sidecars[release], timeout=PATIENCE_SECONDS).status_code

    def view(self, kind: str, name: str) -> JobView | None:
        """A job by the name that it was sent under."""
        return self._inspector.find(self.job(kind, name))

    def job(self, kind: str, name: str) -> UUID:
        """The id of a job with a name."""
        return job_id("default", kind, name)

    def wait_until_parked(self, kind: str, name: str, park: str) -> None:
        """Wait until a job waits for a worker that knows it."""

        def is_parked() -> bool:
            view = self.view(kind, name)
            return view is not None and (view.state, view.blocked_by) == ("parked", park)

        wait_for(is_parked, f"{name} to be parked under {park}")

    def stored(self) -> int:
        """Rows that are stored."""
        found: int = self.database.value("SELECT count(*) FROM penstock.submissions")
        return found

    def wait_for_load(self, rows: int) -> None:
        """Wait until so many rows more are stored, whoever stores them."""
        before = self.stored()
        wait_for(lambda: self.stored() >= before + rows, f"{rows} rows more to be stored")

    def accepted(self, what: str) -> int:
        """What both services were told is accepted."""
        return sum(service.accepted[what] for service in self.services.values())

    def wait_until_idle(self) -> None:
        """Wait until nothing waits in a queue or in the outbox."""

        def is_idle() -> bool:
            # The outbox first: what leaves it between the two looks is in the queue at the second.
            waiting = self.database.value("SELECT count(*) FROM penstock.outbox WHERE state = 'waiting'")
            counts = self._inspector.counts(Queue.SUBMISSIONS)
            return counts.ready + counts.leased + counts.scheduled + counts.parked + waiting == 0

        wait_for(is_idle, "every job to end")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait(PATIENCE_SECONDS)


Situation = Callable[[RollingSystem], None]
#: More processes and a longer load, where the run is at full size.
FULL = bool(os.environ.get("PENSTOCK_TEST_FULL"))
