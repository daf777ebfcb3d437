"""The actor of `probe.grouped`: the rows of many jobs in one transaction, each of which the ledger knows."""

import os
from collections.abc import Sequence
from dataclasses import replace

from probes import GroupedProbe

from penstock.workers.database.ledger import claim_effects
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources
from probe_actors._conduct import before_effect, fail_as_asked
from probe_actors._policy import POLICY

INSERT = "INSERT INTO effects_seen (job_id, worker) VALUES (%s, %s)"


def write_probes(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
    """Leave a row for each probe that has none."""
    new = claim_effects(transaction.connection, jobs)
    return [_write(job, transaction, is_new=job.job_id in new) for job in jobs]


def _write(job: Job, transaction: Transaction, *, is_new: bool) -> Outcome:
    probe = GroupedProbe.model_validate_json(job.payload)
    if outcome := before_effect(job, probe):
        # Its claim would be committed with the others', and a postponed one would never come to its effect.
        raise AssertionError(f"a grouped probe can't be {type(outcome).__name__.lower()}")
    if is_new:
        transaction.connection.execute(INSERT, (job.job_id, os.getpid()))
    fail_as_asked(job, probe)
    return Done(repeated=not is_new)


def _build(resources: Resources) -> Actor:
    return write_probes


REGISTRATION = Registration(GroupedProbe, _build, replace(POLICY, group_limit=200))
