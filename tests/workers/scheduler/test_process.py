"""`penstock scheduler` as a process: its start, its loops on real servers, its stop."""

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.layout import QueueKeys
from penstock.workers.broker.leases import Leases
from penstock.workers.scheduler.queue_ticks import QueueTicks
from tests import forked
from tests.system import Database, WorkerProcess, wait_for
from tests.workers.scheduler.conftest import Outbox


class SchedulerProcess(WorkerProcess):
    """A running `penstock scheduler` and what it logged."""

    def told(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    def wait_until_told(self, text: str) -> None:
        wait_for(lambda: self.told(text) or self.process.poll() is not None, f"{text!r} in the log")
        assert self.told(text), "\n".join(self.lines)


Start = Callable[..., SchedulerProcess]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    started: list[SchedulerProcess] = []

    def run(**env: str) -> SchedulerProcess:
        process = forked.start(["scheduler"], environment | env, stderr=subprocess.PIPE)
        scheduler = SchedulerProcess(process)
        scheduler.reader.start()
        started.append(scheduler)
        return scheduler

    yield run
    for scheduler in started:
        if scheduler.process.poll() is None:
            scheduler.process.kill()
        scheduler.process.wait(30)
        if scheduler.process.stderr is not None:
            scheduler.process.stderr.close()


def test_it_relays_what_a_client_commits_and_records_the_audit(
    start: Start, outbox: Outbox, database: Database
) -> None:
    scheduler = start()
    scheduler.wait_until_told("the scheduler is ready: loops outbox, sweep, audit, ")
    (ready,) = [line for line in scheduler.lines if "the scheduler is ready" in line]
    assert {"dead_letters", "queues", "counts", "partitions"} <= set(ready.replace(",", " ").split())
    # A kind that the release has, by a login that may do nothing else.
    database.query("CREATE ROLE outbox_client LOGIN PASSWORD 'p' IN ROLE penstock_producer")
    try:
        with psycopg.connect(database.url, user="outbox_client", password="p") as client:
            (identity,) = (
                client.execute("SELECT penstock.enqueue('submission_batch.write', '{\"a\": 1}')").fetchone() or ()
            )
            assert outbox.rows() == {}
        wait_for(lambda: outbox.ready() == [identity], "the job in its queue")
    finally:
        database.query("DROP ROLE outbox_client")
    action = audit_entry("ada", "queue.pause", "submissions", "why")
    outbox.client.rpush(QueueKeys(outbox.namespace, "submissions").key("audit"), action.encode())
    recorded = "SELECT count(*) FROM penstock.operator_actions WHERE action_id = %s"
    wait_for(lambda: database.value(recorded, action.action_id) == 1, "the action's record")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once(start: Start, number: signal.Signals) -> None:
    scheduler = start()
    scheduler.wait_until_told("the scheduler is ready")
    began = time.monotonic()
    scheduler.process.send_signal(number)
    assert scheduler.process.wait(60) == 0
    assert time.monotonic() - began < 20, "of about 1 s on an idle machine"
    assert scheduler.told("the scheduler has stopped")


def test_it_waits_for_a_server_and_can_be_stopped_meanwhile(start: Start) -> None:
    scheduler = start(REDIS_URL="redis://127.0.0.1:9/0")
    scheduler.wait_until_told("trying again")
    assert not scheduler.told("the scheduler is ready")
    scheduler.process.send_signal(signal.SIGTERM)
    assert scheduler.process.wait(30) == 0


def test_an_outdated_schema_is_waited_for_as_long_as_the_setting_says(start: Start, database: Database) -> None:
    latest = database.query(
        "DELETE FROM penstock.schema_migrations WHERE version = (SELECT max(version) FROM penstock.schema_migrations)"
        " RETURNING version, name, up_checksum, down_checksum, state"
    )
    try:
        impatient = start(PENSTOCK_SCHEMA_WAIT_SECONDS="0")
        waiting = start()
        assert impatient.process.wait(60) == 1
        wait_for(lambda: impatient.told("STORAGE_SCHEMA_OUTDATED"), "the error")
        wait_for(lambda: waiting.told("waiting for `penstock migrate up`"), "the other one to wait")
        assert not waiting.told("the scheduler is ready")
    finally:
        database.query("INSERT INTO penstock.schema_migrations VALUES (%s, %s, %s, %s, %s)", *latest[0])
    waiting.wait_until_told("the scheduler is ready")


def test_with_no_worker_free_due_jobs_become_ready_all_the_same(start: Start, outbox: Outbox) -> None:
    start().wait_until_told("the scheduler is ready")
    identity = outbox.enqueue_at("now() + interval '1500 milliseconds'", "submission_batch.write")
    wait_for(lambda: outbox.state(identity) == "scheduled", "the job in its queue")
    wait_for(lambda: outbox.ready() == [identity], "the job to become ready")


def test_a_tick_takes_back_the_jobs_of_a_worker_that_died(outbox: Outbox, client: "redis.Redis") -> None:
    keys = QueueKeys(outbox.namespace, "submissions")
    identity = outbox.database.value("SELECT gen_random_uuid()")
    client.hset(keys.job(identity), mapping={"state": "leased", "tenant": "default", "kind": "a.b", "lease": "dead/1"})
    client.zadd(keys.key("leased:dead"), {str(identity): 1})
    client.zadd(keys.key("workers"), {"dead": 1})
    ticks = QueueTicks(Leases(client, outbox.namespace, f"scheduler-{os.getpid()}", timedelta(seconds=2)))
    assert ticks.run_once() is False
    assert outbox.state(identity) == "ready"
    # Who only ticks is no worker: nobody would ever see that it is gone.
    assert client.zrange(keys.key("workers"), 0, -1) == []


KINDS_OF_ONES_OWN = """
from collections.abc import Sequence

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.registry import Registration


class SendGreeting(Payload, kind="greeting.send", queue=Queue.POSTS):
    pass


REGISTRATION = Registration(SendGreeting, lambda resources: None, ledger=False)
"""
ASK = """
from penstock.workers.scheduler.kinds import known_kinds

for setting in ("", "greetings"):
    print({kind: (str(facts.queue), facts.ledger) for kind, facts in known_kinds(setting).items()})
"""


def test_kinds_are_those_of_the_release_and_of_the_packages_that_are_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    package = tmp_path / "greetings"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "send.py").write_text(KINDS_OF_ONES_OWN)
    # In a process of its own: a kind that is known once stays known.
    told = subprocess.run(
        [sys.executable, "-c", ASK], env=environment | {"PYTHONPATH": str(tmp_path)}, capture_output=True, check=True
    )
    own = {
        "submission_batch.write": ("submissions", True),
        "person_data.erase": ("submissions", True),
        "person_data.export": ("submissions", True),
        "scheduled_post.schedule": ("posts", True),
        "scheduled_post.publish": ("publishing", True),
    }
    assert [ast.literal_eval(line) for line in told.stdout.decode().splitlines()] == [
        own,
        own | {"greeting.send": ("posts", False)},
    ]
