"""The actor of `scheduled_post.publish`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from penstock.schemas.scheduled_post import PublishPost
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Job, Outcome
from penstock.workers.platforms.catalogue import Platforms, circuit_of, limits_of
from penstock.workers.platforms.platform import AccountRef
from penstock.workers.posts.authorising import Authoriser
from penstock.workers.posts.conversation import Speaker
from penstock.workers.posts.means import Means
from penstock.workers.posts.publisher import Publisher
from penstock.workers.posts.steps import Steps
from penstock.workers.protection.gates import JobGates
from penstock.workers.registry import Policy, Registration, Resources

#: A platform that answers now and then is given some minutes; one that does not at all opens its circuit, and costs no
#: attempt. A run may hold several calls, each of which has time-outs of its own.
POLICY = Policy(
    max_retries=8,
    backoff_base=timedelta(seconds=2),
    backoff_cap=timedelta(minutes=5),
    time_limit=timedelta(minutes=5),
    # A platform works on long videos for hours, and an account may wait for its person in the middle of a look-up.
    patience=timedelta(days=3),
)


class PublishPosts:
    """Publishes posts. It commits each step by itself, and so has no use for a transaction around them."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def __call__(self, jobs: Sequence[Job], _: Transaction) -> Sequence[Outcome]:
        """Go on with each post as far as it comes now."""
        return [self._publisher.publish(job, PublishPost.model_validate_json(job.payload)) for job in jobs]


def gates_of(job: Job) -> JobGates:
    """What a post has to pass: its account and platform may be paused, the platform's circuit, the account's limits.

    The limits are taken of once for a job, however often it runs until its post is out.
    """
    try:
        order = PublishPost.model_validate_json(job.payload)
    except ValidationError:
        # What is wrong with it the actor tells, and the job is a dead letter.
        return JobGates()
    account = AccountRef(str(order.account_id), order.platform, "")
    return JobGates(
        keys=(f"account:{order.account_id}", f"platform:{order.platform}"),
        circuits=(circuit_of(order.platform),),
        uses=tuple(limits_of(account)),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _build(resources: Resources) -> PublishPosts:
    settings = resources.settings
    platforms = Platforms(settings)
    transactions = resources.transactions
    means = Means(
        Steps(transactions),
        Authoriser(transactions, settings.token_keys, platforms, resources.worker, _now),
        platforms,
        Speaker(resources.circuits, resources.limits, resources.worker, resources.release, _now),
        platforms.visible_for,
        settings.look_up_waits,
        POLICY.max_retries,
        _now,
    )
    return PublishPosts(Publisher(means))


REGISTRATION = Registration(PublishPost, _build, POLICY, gates=gates_of)
