"""Whether every accepted job is in exactly one place: done with its effect, waiting, or dead."""

import time
from datetime import timedelta

import redis

from penstock.producers.queue.counts import QueueCounts
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.records import JobRecords
from penstock.schemas.names import Queue
from penstock.workers.reconcile.comparison import Comparison
from penstock.workers.reconcile.effects import Effects
from penstock.workers.reconcile.first_pass import FirstPass
from penstock.workers.reconcile.report import Fault, Report
from penstock.workers.reconcile.sightings import Suspect
from penstock.workers.reconcile.verdict import problem_of

#: A row of the outbox that was relayed longer ago must have a job or an effect.
OUTBOX_AGE = timedelta(minutes=10)


class Reconciliation:
    """Looks over all queues while jobs move. Nothing is changed.

    A first pass reads records and places in pages. What did not fit is looked at again, each job in one instant,
    and only what is wrong then too is told. Without `effects` PostgreSQL is not asked.
    """

    def __init__(
        self, client: redis.Redis, namespace: str, effects: Effects | None, outbox_age: timedelta = OUTBOX_AGE
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._inspector = QueueInspector(client, namespace)
        records = JobRecords(client, namespace)
        self._comparison = None if effects is None else Comparison(effects, records)
        self._outbox_age = outbox_age

    def run(self) -> Report:
        """Look once.

        Raises:
            PenstockError: of the `QUEUE_` family.
            psycopg.Error: whatever PostgreSQL says.
        """
        started = time.perf_counter()
        report = Report(database=self._comparison is not None)
        queues = [str(queue) for queue in Queue]
        first_pass = FirstPass(self._client, self._namespace, queues)
        for records in first_pass.records():
            report.records += len(records)
            if self._comparison is not None:
                report.add_all(self._comparison.compare(records))
        for suspect in first_pass.suspects():
            report.looked_again += 1
            report.add_all(self._look_again(suspect))
        if self._comparison is not None:
            report.add_all(self._comparison.outbox(self._outbox_age))
            report.ack_pending = self._comparison.ack_pending
        report.counts = [self._count(queue) for queue in queues]
        report.seconds = time.perf_counter() - started
        return report

    def _look_again(self, suspect: Suspect) -> list[Fault]:
        located = self._inspector.locate(suspect.queue, suspect.job_id, sorted(suspect.met_in), twice=suspect.twice)
        problem = problem_of(located)
        printable = suspect.job_id.encode(errors="surrogateescape").decode(errors="replace")
        return [] if problem is None else [Fault(printable, suspect.queue, problem)]

    def _count(self, queue: str) -> QueueCounts:
        counts = self._inspector.counts(queue)
        return self._inspector.counts(queue) if counts.unaccounted else counts
