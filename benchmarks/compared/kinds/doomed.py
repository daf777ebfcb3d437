"""The actor of `compared.doomed`: every job becomes a dead letter at once."""

from collections.abc import Sequence

from penstock.schemas.errors import Code
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Dead, Job, Outcome
from penstock.workers.registry import Actor, Policy, Registration, Resources


class BenchDoomed(Payload, kind="compared.doomed", queue=Queue.SUBMISSIONS):
    """Die."""


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        return [Dead(Code.JOB_PAYLOAD_INVALID, "jobs of this kind die") for _ in jobs]

    return run


REGISTRATION = Registration(BenchDoomed, _build, Policy(group_limit=500), ledger=False)
