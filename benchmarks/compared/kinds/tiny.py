"""The actor of `compared.tiny`: one insert for each job, which changes nothing when it is run again.

Jobs that wait already share a transaction, up to the kind's limit, and a statement.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Policy, Registration, Resources

_INSERT = "INSERT INTO bench_effects (effect_id) SELECT unnest(%b::uuid[]) ON CONFLICT DO NOTHING"


class BenchTiny(Payload, kind="compared.tiny", queue=Queue.SUBMISSIONS):
    """Insert an id."""

    effect_id: UUID


class _Wire(msgspec.Struct):
    effect_id: UUID


_decode = msgspec.json.Decoder(_Wire).decode


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        # In the same order everywhere, so that two transactions can't wait for each other.
        transaction.connection.execute(_INSERT, (sorted(_decode(job.payload).effect_id for job in jobs),))
        return [Done() for _ in jobs]

    return run


# The row is its own proof: a second run finds it.
REGISTRATION = Registration(BenchTiny, _build, Policy(group_limit=500), ledger=False)
