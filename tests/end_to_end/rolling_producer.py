"""A service of either release that sends jobs by every door; PYTHONPATH says of which.

Told on standard input, a line at a time: a number of rounds to send, or `run`, to send until the next line. After each
it says on standard output, as a line of JSON, what was accepted of it in all.
"""

import json
import os
import queue
import sys
import threading
import time

import psycopg
from notes import BY_SQL, notes_of
from psycopg.types.json import Jsonb

from penstock.producers import Producer, SubmitOptions
from penstock.producers.storage.outbox import enqueue_in_transaction

ROWS_A_ROUND = 10
#: Seconds between two rounds: a steady load, and not as much as the machine can take.
PAUSE = 0.05


class Service:
    """Sends rounds, and counts what was accepted."""

    def __init__(self, name: str, producer: Producer, connection: psycopg.Connection) -> None:
        self._name = name
        self._producer = producer
        self._connection = connection
        self._rounds = 0
        self.accepted = {"rows": 0, "note.write": 0, "star.give": 0}

    def send(self) -> None:
        """One round: a file, jobs by the client, jobs in a transaction, and jobs by SQL."""
        self._rounds += 1
        name = f"{self._name}-{self._rounds}"
        rows = ({"answers": {"q": f"answer {number}"}} for number in range(ROWS_A_ROUND))
        self._producer.submit("f", rows, batch_id=name, options=SubmitOptions(batch_size=5))
        self.accepted["rows"] += ROWS_A_ROUND
        for payload in notes_of(f"{name}-client"):
            self._producer.enqueue(payload)
            self.accepted[payload.kind] += 1
        with self._connection.transaction():
            for payload in notes_of(f"{name}-outbox"):
                enqueue_in_transaction(self._connection, payload)
                self.accepted[payload.kind] += 1
            for kind in BY_SQL:
                # The first version of each payload.
                members = {"name": f"{name}-sql"} | ({"text": "one two"} if kind == "note.write" else {})
                self._connection.execute("SELECT penstock.enqueue(%s, %s)", (kind, Jsonb(members)))
                self.accepted[kind] += 1


def main() -> None:
    """Until standard input ends."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    with (
        Producer.from_environment() as producer,
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection,
    ):
        service = Service(sys.argv[1], producer, connection)
        while line := lines.get():
            if line == "run":
                while lines.empty():
                    service.send()
                    time.sleep(PAUSE)
            else:
                for _ in range(int(line)):
                    service.send()
            print(json.dumps(service.accepted), flush=True)


if __name__ == "__main__":
    main()
