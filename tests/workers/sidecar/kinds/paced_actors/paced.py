"""Runs jobs that take their time."""

import os
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from paced import Paced

from penstock.schemas.errors import Code
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from penstock.workers.registry import Actor, Policy, Registration, Resources

#: Names a folder in which the first start of each postponed job leaves a file.
STARTS = "PENSTOCK_TEST_STARTS"


def _build(_resources: Resources) -> Actor:
    def run(jobs: Sequence[Job], _transaction: Transaction) -> Sequence[Outcome]:
        return [_run(job, Paced.model_validate_json(job.payload)) for job in jobs]

    return run


def _run(job: Job, payload: Paced) -> Outcome:
    time.sleep(payload.sleep_seconds)
    if payload.kill:
        os.kill(os.getpid(), signal.SIGKILL)
    if payload.die:
        return Dead(Code.INTERNAL_ERROR, "asked to")
    if payload.postpone:
        started = Path(os.environ[STARTS]) / str(job.job_id)
        if not started.exists():
            started.touch()
            return Postpone(timedelta(milliseconds=100), "a gate that is closed")
    return Retry(Code.INTERNAL_ERROR, "asked to") if job.attempt <= payload.fail else Done()


_POLICY = Policy(backoff_base=timedelta(milliseconds=50))
REGISTRATION = Registration(Paced, _build, _POLICY, ledger=False, needs_storage=False)
