"""The actor of `scheduled_post.schedule`."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import psycopg

from penstock.schemas.errors import Code, ConflictError, InvalidInputError, NotFoundError
from penstock.schemas.post_content import ContentFault
from penstock.schemas.scheduled_post import LONGEST_AHEAD, SchedulePost
from penstock.workers.accounts.store import platform_of
from penstock.workers.database.ledger import claim_effect
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Dead, Done, Job, Outcome
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.posts.intake import schedule_post
from penstock.workers.registry import Policy, Registration, Resources

#: Faults of one post that its dead letter tells.
_TOLD = 10


class SchedulePosts:
    """Stores posts that their platforms take; all that is wrong with another one is in its dead letter.

    Args:
        platforms: know what they take.
        clock: now, aware.
    """

    def __init__(self, platforms: Platforms, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._platforms = platforms
        self._clock = clock

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        """Store several posts. One that can't be stored is dead and leaves the others alone."""
        orders = [SchedulePost.model_validate_json(job.payload) for job in jobs]
        # An account's platform never changes, so each is asked for once in a transaction.
        find = lru_cache(maxsize=None)(lambda tenant, account: _platform(transaction.connection, tenant, account))
        return [self._schedule(job, order, find, transaction) for job, order in zip(jobs, orders, strict=True)]

    def _schedule(
        self, job: Job, order: SchedulePost, find: Callable[[str, UUID], str | None], transaction: Transaction
    ) -> Outcome:
        platform = find(job.tenant, order.account_id)
        if platform is None:
            return Dead(Code.ACCOUNT_NOT_FOUND, f"there is no account {order.account_id}")
        if order.due_at - self._clock() > LONGEST_AHEAD:
            return Dead(Code.POST_SCHEDULE_INVALID, f"due_at is over {LONGEST_AHEAD.days // 366} years ahead")
        faults = self._platforms[platform].validate(order.content)
        if faults:
            return _refused(platform, faults)
        connection = transaction.connection
        try:
            taken = schedule_post(connection, job.tenant, job.job_id, order)
        except (ConflictError, InvalidInputError, NotFoundError) as error:
            return Dead(error.code, error.message)
        repeated = not claim_effect(connection, job) or taken.repeated
        return Done(repeated=repeated, counts={} if repeated else {"scheduled": 1})


def _platform(connection: psycopg.Connection, tenant: str, account_id: UUID) -> str | None:
    return platform_of(connection, tenant, account_id)


def _refused(platform: str, faults: Sequence[ContentFault]) -> Dead:
    told = "; ".join(f"{fault.field or 'post'}: {fault.message}" for fault in faults[:_TOLD])
    more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
    return Dead(faults[0].code, f"{platform} does not take it: {told}{more}")


def _build(resources: Resources) -> SchedulePosts:
    return SchedulePosts(Platforms(resources.settings))


REGISTRATION = Registration(SchedulePost, _build, Policy(group_limit=50))
