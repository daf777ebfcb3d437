"""A system of one's own for the runbook: both servers, a worker, and what goes wrong in each of its sections."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
import redis

from penstock.producers import Producer
from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.job_view import JobView
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.cli.root import run
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.limits import LimitUse, RateLimits
from penstock.workers.settings import WorkerSettings
from tests import forked
from tests.end_to_end.runbook_posts import Desk, open_desk
from tests.posts_kit import KEY
from tests.recovery.servers import OwnPostgres, OwnValkey
from tests.system import BIN, Run, WorkerProcess, wait_for

QUEUE = Queue.PUBLISHING
KIND = "post.publish"
HOUR = timedelta(hours=1)
_KINDS = Path(__file__).parent / "runbook_kinds"


class RunbookSystem:
    """The examples' queues, kinds, platforms and accounts, on servers that can be killed. Use it as a context manager.

    Attributes:
        job: the one that the page calls ID.
        letter: the dead letter that it calls LETTER.
        names: what it calls POST, OTHER and ACCOUNT.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = OwnPostgres()
        self.valkey = OwnValkey()
        self.job: UUID | None = None
        self.letter: UUID | None = None
        self.names: dict[str, str] = {}
        self._stack = ExitStack()
        self._posts = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(self.postgres)
        self._stack.enter_context(self.valkey)
        self.environment = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PENSTOCK_HOME": str(self.folder / "home"),
            "DATABASE_URL": self.postgres.database.url,
            "REDIS_URL": self.valkey.url,
            "PENSTOCK_NAMESPACE": "penstock",
            "PENSTOCK_ACTORS": "runbook_actors",
            "PENSTOCK_WORKER_THREADS": "1",
            "PENSTOCK_POOL_MIN": "1",
            "PENSTOCK_TOKEN_KEYS": f"k1:{KEY}",
            "PYTHONPATH": str(_KINDS),
        }
        self.settings = WorkerSettings.from_environment(self.environment)
        self.client: redis.Redis = self.valkey.client()
        self.keys = QueueKeys(self.settings.namespace, QUEUE)
        self._start_worker()
        self._start_scheduler()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def penstock(self, *arguments: str) -> Run:
        """Run a command as an operator does who agrees when asked; in this process, since it starts no other one."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(os, "environ", self.environment)
            patch.setattr(sys, "stdin", io.StringIO("y\n"))
            patch.chdir(self.folder)
            patch.syspath_prepend(str(_KINDS))
            code = run(arguments)
        return Run(code, out.getvalue(), err.getvalue())

    def post(self, count: int = 1, *, tenant: str = "acme", kind: str = KIND, **members: Any) -> UUID:
        """Enqueue posts; returns the first one's id."""
        with Producer(self.valkey.url, tenant=tenant, namespace=self.settings.namespace) as producer:
            jobs = [self._payload(kind, members) for _ in range(count)]
            return producer.enqueue_many(jobs)[0].job_id

    def _payload(self, kind: str, members: dict[str, Any]) -> EncodedPayload:
        self._posts += 1
        body = {"name": f"post-{self._posts}", **members}
        return EncodedPayload(kind, QUEUE, 1, json.dumps(body).encode(), idempotency_key=body["name"])

    def counts(self) -> QueueCounts:
        return self._inspector.counts(QUEUE)

    def view(self, job: UUID) -> JobView:
        found = self._inspector.find(job)
        assert found is not None
        return found

    def wait_until(self, job: UUID, condition: Callable[[JobView], bool], what: str) -> None:
        wait_for(lambda: condition(self.view(job)), what)

    def wait_for_letter(self) -> None:
        """Wait until PostgreSQL has the dead letter of `job`, and no queue has any."""
        wait_for(lambda: self.counts().unarchived == 0, "the dead letters to be archived")
        query = "SELECT dead_id FROM penstock.dead_letters WHERE job_id = %s ORDER BY died_at DESC LIMIT 1"
        self.letter = self.postgres.database.value(query, self.job)
        assert self.letter is not None

    def replay(self) -> UUID | None:
        """The last replay."""
        found: UUID | None = self.postgres.database.value(
            "SELECT (SELECT replay_id FROM penstock.replays ORDER BY created_at DESC LIMIT 1)"
        )
        return found

    @cached_property
    def _inspector(self) -> QueueInspector:
        return QueueInspector(self.client, self.settings.namespace)

    @cached_property
    def limits(self) -> RateLimits:
        return RateLimits(self.client, self.settings.namespace)

    def fail_calls(self, circuit: str) -> None:
        """Five calls of a worker fail, and open the circuit."""
        circuits = Circuits(self.client, self.settings.namespace, self.settings)
        for _ in range(self.settings.circuit_failures):
            with pytest.raises(ConnectionError), circuits.guard(circuit):
                raise ConnectionError
        circuits.close()

    def use_up(self, key: str) -> None:
        """Take all of an account's limit."""
        assert self.limits.take([LimitUse(key, 25, HOUR, 25)]).allowed

    def desk(self) -> AbstractContextManager[Desk]:
        """Where accounts and posts are made."""
        return open_desk(self.postgres.database.url)

    def _start_worker(self) -> None:
        process = forked.start(["worker"], self.environment, stderr=subprocess.PIPE)
        worker = WorkerProcess(process)
        worker.reader.start()
        self._stack.callback(process.stderr.close)  # type: ignore[union-attr]
        self._stack.callback(worker.reader.join)
        self._stack.callback(worker.kill)
        worker.wait_until_ready()

    def _start_scheduler(self) -> None:
        process = forked.start(["scheduler"], self.environment, stderr=subprocess.DEVNULL)
        scheduler = WorkerProcess(process)
        self._stack.callback(scheduler.kill)
