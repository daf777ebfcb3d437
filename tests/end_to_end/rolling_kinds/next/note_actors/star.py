"""The actor of `star.give`."""

from collections.abc import Sequence

from notes import Star

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.registry import Actor, Registration, Resources


def give_stars(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
    """Leave a row for each star that has none."""
    return [_give(job, transaction) for job in jobs]


def _give(job: Job, transaction: Transaction) -> Outcome:
    star = Star.model_validate_json(job.payload)
    if not claim_effect(transaction.connection, job):
        return Done(repeated=True)
    transaction.connection.execute("INSERT INTO penstock.stars (job_id, name) VALUES (%s, %s)", (job.job_id, star.name))
    return Done()


def _build(resources: Resources) -> Actor:
    return give_stars


REGISTRATION = Registration(Star, _build)
