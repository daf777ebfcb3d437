"""The actor of `post.publish`, with gates of every sort: the account, the platform, a circuit, a limit."""

import time
from collections.abc import Sequence
from datetime import timedelta

from runbook_payloads import PublishPost

from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Done, Job, Outcome
from penstock.workers.protection.gates import JobGates
from penstock.workers.protection.limits import LimitUse
from penstock.workers.protection.retry import HttpAnswerError
from penstock.workers.registry import Actor, Registration, Resources


def publish(jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
    """Note each post's effect, once, or fail as the platform does."""
    return [_publish(job, PublishPost.model_validate_json(job.payload), transaction) for job in jobs]


def _publish(job: Job, post: PublishPost, transaction: Transaction) -> Outcome:
    time.sleep(post.takes_seconds)
    if post.status >= 300:
        raise HttpAnswerError(post.status, who=post.platform)
    return Done(repeated=not claim_effect(transaction.connection, job))


def _gates(job: Job) -> JobGates:
    post = PublishPost.model_validate_json(job.payload)
    account, platform = f"account:{post.account}", f"platform:{post.platform}"
    use = LimitUse(account, 25, timedelta(hours=1), default_key=platform)
    return JobGates((account, platform), (platform,), (use,))


def _build(resources: Resources) -> Actor:
    return publish


REGISTRATION = Registration(PublishPost, _build, gates=_gates)
