"""A system of one's own to break: both servers, a worker, a scheduler and a sidecar, and jobs that come in."""

import itertools
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from penstock.producers import Producer
from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import PenstockError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.stand_in.server import environment_at
from tests.end_to_end.runbook_posts import Desk, open_desk
from tests.posts_kit import KEY
from tests.recovery.servers import OwnPostgres, OwnValkey, free_port
from tests.system import BIN, wait_for

QUEUE = Queue.PUBLISHING
KIND = "post.publish"
#: Between two jobs of the load.
PAUSE = timedelta(milliseconds=100)

_KINDS = Path(__file__).parents[2] / "end_to_end" / "runbook_kinds"


class WatchedSystem:
    """Use it as a context manager.

    Attributes:
        notes: what a fault's beginning leaves for its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = OwnPostgres()
        self.valkey = OwnValkey()
        self.sidecar = f"127.0.0.1:{free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.notes: dict[str, Any] = {}
        self.enqueued = 0
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.postgres)
        self._stack.enter_context(self.valkey)
        # No platform is asked anything: there is nothing at that address.
        self.environment = environment_at("http://127.0.0.1:1") | {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PENSTOCK_HOME": str(self.folder / "home"),
            "DATABASE_URL": self.postgres.database.url,
            "PENSTOCK_MIGRATION_DATABASE_URL": self.postgres.database.admin_url,
            "REDIS_URL": self.valkey.url,
            "PENSTOCK_ACTORS": "runbook_actors",
            "PENSTOCK_WORKER_THREADS": "2",
            "PENSTOCK_POOL_MIN": "1",
            "PENSTOCK_POOL_WAIT_SECONDS": "1",
            "PENSTOCK_LEASE_SECONDS": "6",
            "PENSTOCK_SIDECAR_LISTEN": self.sidecar,
            "PENSTOCK_TOKEN_KEYS": f"k1:{KEY}",
            "PYTHONPATH": str(_KINDS),
        }
        self._stack.callback(self._stop)
        for name in ("sidecar", "worker", "scheduler"):
            self.start(name)
        wait_for(self._is_whole, "the system to run")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str, command: str = "", **env: str) -> None:
        """Start a process; its command is its name unless told otherwise."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = command or name
            started = subprocess.Popen([BIN / "penstock", command], env=self.environment | env, stderr=log)
        self.processes[name] = started

    def kill(self, name: str) -> None:
        """As the kernel's out-of-memory killer does it."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(30)

    def send(self, name: str, number: signal.Signals) -> None:
        """Freeze a process, or let it go on."""
        os.kill(self.processes[name].pid, number)

    def penstock(self, *arguments: object) -> Any:
        """Run a command as an operator does; what it printed."""
        command = [str(BIN / "penstock"), *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def post(self, count: int = 1, **members: Any) -> None:
        """Enqueue jobs, each for an account of its own unless told otherwise."""
        with Producer(self.valkey.url, namespace="penstock") as producer:
            producer.enqueue_many([self._payload(members) for _ in range(count)])

    def load(self) -> AbstractContextManager[object]:
        """Jobs come in all the time within the block, also while a server is away: then they wait to be sent."""
        thread = threading.Thread(target=self._send)
        stack = ExitStack()
        stack.callback(thread.join)
        stack.callback(self._ended.set)
        thread.start()
        return stack

    def desk(self) -> AbstractContextManager[Desk]:
        """Where accounts and posts are made."""
        return open_desk(self.postgres.database.url)

    def wait_until_enqueued(self, more: int = 20) -> None:
        """Wait until so many more jobs of the load have come in."""
        wanted = self.enqueued + more
        wait_for(lambda: self.enqueued >= wanted, "more jobs")

    def wait_for_leases(self, count: int) -> None:
        """Wait until workers hold so many jobs."""
        with self.valkey.client() as client:
            inspector = QueueInspector(client, "penstock")
            wait_for(lambda: inspector.counts(QUEUE).leased >= count, "jobs to be leased")

    def last_words(self) -> str:
        """What the processes said at last."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-1_500:]}" for log in logs)

    def _payload(self, members: dict[str, Any]) -> EncodedPayload:
        number = next(self._numbers)
        body = {"name": f"post-{number}", "account": str(number)} | members
        return EncodedPayload(KIND, QUEUE, 1, json.dumps(body).encode(), idempotency_key=body["name"])

    def _send(self) -> None:
        with Producer(self.valkey.url, namespace="penstock") as producer:
            while not self._ended.wait(PAUSE.total_seconds()):
                try:
                    producer.enqueue(self._payload({}))
                    self.enqueued += 1
                except PenstockError:
                    # Redis is away; nobody waits for this job.
                    continue

    def _is_whole(self) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()[-2_000:]
        try:
            with urllib.request.urlopen(f"http://{self.sidecar}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        return "penstock_schedulers 1.0" in text and f'penstock_queue_workers{{queue="{QUEUE}"}} 1.0' in text

    def _stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(30)


Step = Callable[[WatchedSystem], object]
