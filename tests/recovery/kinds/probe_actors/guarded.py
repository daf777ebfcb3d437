"""The actor of `probe.guarded`: its effect is there once, since the ledger knows it."""

import os
import time
from collections.abc import Sequence

from probes import Probe

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources
from probe_actors._conduct import before_effect, fail_as_asked
from probe_actors._policy import POLICY


def write_probes(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
    """Leave a row for each probe that has none."""
    return [_write(job, Probe.model_validate_json(job.payload), transaction) for job in jobs]


def _write(job: Job, probe: Probe, transaction: Transaction) -> Outcome:
    outcome = before_effect(job, probe)
    if outcome is not None:
        return outcome
    if probe.sleep_in == "python":
        time.sleep(probe.sleep_seconds)
    connection = transaction.connection
    if not claim_effect(connection, job):
        return Done(repeated=True)
    connection.execute("INSERT INTO effects_seen (job_id, worker) VALUES (%s, %s)", (job.job_id, os.getpid()))
    if probe.sleep_in == "postgresql":
        connection.execute("SELECT pg_sleep(%s)", (probe.sleep_seconds,))
    fail_as_asked(job, probe)
    return Done()


def _build(resources: Resources) -> Actor:
    return write_probes


REGISTRATION = Registration(Probe, _build, POLICY)
