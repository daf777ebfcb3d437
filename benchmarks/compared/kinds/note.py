"""The actor of `compared.note`: it notes when it began."""

import json
import time
from collections.abc import Sequence

from benchmarks.compared.board import note_start
from penstock.schemas.job import Payload
from penstock.schemas.names import Queue
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources


class BenchNote(Payload, kind="compared.note", queue=Queue.SUBMISSIONS):
    """Note the moment under a number."""

    number: int


def _build(_: Resources) -> Actor:
    def run(jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        now = time.monotonic()
        for job in jobs:
            note_start(json.loads(job.payload)["number"], now)
        return [Done() for _ in jobs]

    return run


REGISTRATION = Registration(BenchNote, _build, ledger=False)
