"""The actor of `probe.contending`: it loses its first transaction for certain, by a deadlock or in serialization."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import psycopg
from probes import ContendingProbe

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Policy, Registration, Resources
from probe_actors._conduct import note_start, starts_of

ADD = "UPDATE contended SET value = value + 1 WHERE name = %s"
#: No failure that counts may be made up for by another attempt.
POLICY = Policy(max_retries=0)
#: How long a job waits for the other one of its pair to hold its row.
MEET_SECONDS = 5

_making = threading.Lock()
_meetings: dict[str, threading.Barrier] = defaultdict(lambda: threading.Barrier(2, timeout=MEET_SECONDS))


def _build(resources: Resources) -> Actor:
    def contend(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        return [_contend(job, ContendingProbe.model_validate_json(job.payload), transaction) for job in jobs]

    def _contend(job: Job, probe: ContendingProbe, transaction: Transaction) -> Outcome:
        note_start(job)
        is_first = starts_of(job.job_id) == 1
        connection = transaction.connection
        if probe.pair is None:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if not claim_effect(connection, job):
            return Done(repeated=True)
        if is_first and probe.pair is None:
            with psycopg.connect(resources.settings.database_url, autocommit=True) as other:
                other.execute(ADD, (probe.rows[0],))
        for row in probe.rows:
            connection.execute(ADD, (row,))
            if is_first and probe.pair is not None and row == probe.rows[0]:
                _meet(probe.pair)
        return Done()

    return contend


def _meet(pair: str) -> None:
    with _making:
        meeting = _meetings[pair]
    with suppress(threading.BrokenBarrierError):
        meeting.wait()


REGISTRATION = Registration(ContendingProbe, _build, POLICY)
