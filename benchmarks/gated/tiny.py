"""The actor of `bench.tiny`: one insert, which changes nothing when it is run again."""

from collections.abc import Sequence

from benchmarks.gated._gates import chosen_gates
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources

INSERT = "INSERT INTO bench_effects (job_id) VALUES (%s) ON CONFLICT DO NOTHING"


class Tiny(Payload, kind="bench.tiny", queue=Queue.SUBMISSIONS):
    """Insert the job's id."""


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        for job in jobs:
            transaction.connection.execute(INSERT, (job.job_id,))
        return [Done() for _ in jobs]

    return run


REGISTRATION = Registration(Tiny, _build, ledger=False, gates=chosen_gates())
