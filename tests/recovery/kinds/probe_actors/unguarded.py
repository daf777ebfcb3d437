"""The actor of `probe.unguarded`: it writes at once, outside the transaction, so a redelivery is an effect more."""

import os
import time
from collections.abc import Sequence

import psycopg
from probes import UnguardedProbe

from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources
from probe_actors._conduct import before_effect, fail_as_asked
from probe_actors._policy import POLICY


def _build(resources: Resources) -> Actor:
    def write_probes(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        return [_write(job, UnguardedProbe.model_validate_json(job.payload)) for job in jobs]

    def _write(job: Job, probe: UnguardedProbe) -> Outcome:
        outcome = before_effect(job, probe)
        if outcome is not None:
            return outcome
        with psycopg.connect(resources.settings.database_url, autocommit=True) as connection:
            connection.execute("INSERT INTO effects_seen (job_id, worker) VALUES (%s, %s)", (job.job_id, os.getpid()))
        time.sleep(probe.sleep_seconds)
        fail_as_asked(job, probe)
        return Done()

    return write_probes


REGISTRATION = Registration(UnguardedProbe, _build, POLICY, ledger=False)
