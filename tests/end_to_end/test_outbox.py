"""Another client's transactions through `penstock.enqueue`, half rolled back, while the relay is killed and killed.

PENSTOCK_TEST_FULL=1 runs it with 1,000 transactions; PENSTOCK_TEST_SEED repeats a run's choices.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import redis

from tests.system import BIN, Database, Penstock, WorkerProcess, wait_for

TRANSACTIONS = 1_000 if os.environ.get("PENSTOCK_TEST_FULL") == "1" else 200
ROWS_EACH = 2
#: The relay dies at least so often, each time within twice this of its start: while it starts, or while it works.
KILLS = 20 if TRANSACTIONS == 1_000 else 6
LIFE_SECONDS = 1.0
FORM = {"title": "One question", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
#: Every second life ends by itself between the queue's answer and the commit that notes it.
DYING = """
import os, signal
from penstock.workers.cli import main
from penstock.workers.scheduler import relay

relay.note_answers = lambda *_answers: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


class Client:
    """A program of somebody else's: a login that may execute `penstock.enqueue` and nothing else, and its own table."""

    def __init__(self, database: Database, choices: random.Random) -> None:
        self._database = database
        self._choices = choices
        self.committed: set[str] = set()
        self.rolled_back: set[str] = set()

    def run(self) -> None:
        """Commit half of the transactions and roll the others back, for as long as the relay is killed."""
        fates = [True, False] * (TRANSACTIONS // 2)
        self._choices.shuffle(fates)
        pace = 2 * KILLS * LIFE_SECONDS / TRANSACTIONS
        # The role alone has none of the login's other rights.
        with psycopg.connect(self._database.url, options="-c role=penstock_producer") as connection:
            for number, commits in enumerate(fates):
                batch_id = f"order-{number:04d}"
                self._enqueue(connection, batch_id, keyed=self._choices.random() < 0.5)
                if commits:
                    connection.commit()
                    self.committed.add(batch_id)
                else:
                    connection.rollback()
                    self.rolled_back.add(batch_id)
                time.sleep(self._choices.uniform(0, pace))

    def _enqueue(self, connection: "psycopg.Connection", batch_id: str, *, keyed: bool) -> None:
        payload = {
            "form_id": "orders",
            "batch_id": batch_id,
            "submissions": [{"answers": {"q": f"{batch_id}/{row}"}} for row in range(ROWS_EACH)],
        }
        connection.execute(
            "SELECT penstock.enqueue('submission_batch.write', %s::jsonb, idempotency_key => %s)",
            (json.dumps(payload), batch_id if keyed else None),
        )


@contextmanager
def scheduler(environment: dict[str, str], *, dying: bool = False) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", DYING] if dying else [BIN / "penstock"]
    process = subprocess.Popen([*command, "scheduler"], env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()


def test_exactly_the_committed_transactions_take_effect_once(
    penstock: Penstock,
    start_worker: Callable[..., WorkerProcess],
    environment: dict[str, str],
    database: Database,
    redis_url: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("PENSTOCK_TEST_SEED") or random.randrange(1_000_000))
    choices = random.Random(seed)
    form = tmp_path / "orders.json"
    form.write_text(json.dumps(FORM))
    assert penstock("forms", "apply", form).code == 0
    start_worker().wait_until_ready()
    sweeping = environment | {"PENSTOCK_OUTBOX_SWEEP_SECONDS": "1"}
    client = Client(database, choices)

    def dead_or_idle(process: "subprocess.Popen[bytes]") -> bool:
        waiting = "SELECT count(*) FROM penstock.outbox WHERE state = 'waiting'"
        return process.poll() is not None or not (thread.is_alive() or database.value(waiting))

    # The choices of the two threads are apart, so that a seed gives the same ones again.
    thread = threading.Thread(target=client.run, daemon=True)
    thread.start()
    kills, in_between, lives = 0, 0, random.Random(seed + 1)
    while thread.is_alive() or kills < KILLS:
        dying = kills % 2 == 0
        with scheduler(sweeping, dying=dying) as process:
            if dying:
                wait_for(partial(dead_or_idle, process), "its death")
                in_between += process.poll() == -signal.SIGKILL
            else:
                thread.join(lives.uniform(0, 2 * LIFE_SECONDS))
                assert process.poll() is None
        kills += 1
    relayed_by_the_killed = database.value("SELECT count(*) FROM penstock.submission_batches")
    assert len(client.committed) == len(client.rolled_back) == TRANSACTIONS // 2
    with scheduler(sweeping):
        # The sweep removes a row when its effect is committed.
        wait_for(lambda: database.value("SELECT count(*) FROM penstock.outbox") == 0, "all effects", seconds=120)
    print(
        f"seed {seed}: {TRANSACTIONS} transactions, {len(client.committed)} committed, {kills} kills"
        f" ({in_between} between the queue's answer and the commit),"
        f" {relayed_by_the_killed} effects by then"
    )
    assert relayed_by_the_killed > 0
    assert in_between > 0
    batches = database.query("SELECT batch_id, stored, rejected, duplicates FROM penstock.submission_batches")
    assert {batch_id for batch_id, *_ in batches} == client.committed
    assert all(counts == [ROWS_EACH, 0, 0] for _, *counts in batches)
    assert len(batches) == len(client.committed)
    rows = database.query("SELECT answers ->> 'q', count(*) FROM penstock.submissions GROUP BY 1")
    wanted = {f"{batch_id}/{row}" for batch_id in client.committed for row in range(ROWS_EACH)}
    assert ({text for text, _ in rows}, {count for _, count in rows}) == (wanted, {1})
    with redis.Redis.from_url(redis_url) as queues:
        meta = queues.hgetall(f"{namespace}:{{submissions}}:meta")
    assert int(meta[b"accepted"]) == len(client.committed), "what was relayed twice was known"
