"""The actor of `bench.noop`: it does nothing, so that what is left is Penstock's own time."""

from collections.abc import Sequence

from benchmarks.gated._gates import chosen_gates
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources


class Noop(Payload, kind="bench.noop", queue=Queue.SUBMISSIONS):
    """Do nothing."""


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        return [Done() for _ in jobs]

    return run


REGISTRATION = Registration(Noop, _build, ledger=False, gates=chosen_gates())
