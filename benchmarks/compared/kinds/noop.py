"""The actor of `compared.noop`: it counts, and does nothing else."""

from collections.abc import Sequence

from benchmarks.compared.board import note_runs
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Policy, Registration, Resources


class BenchNoop(Payload, kind="compared.noop", queue=Queue.SUBMISSIONS):
    """Count."""


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        note_runs(len(jobs))
        return [Done() for _ in jobs]

    return run


REGISTRATION = Registration(BenchNoop, _build, Policy(group_limit=500), ledger=False)
