"""A publisher with real servers behind it, and what a queue does with a job's outcomes, by the stand-in's clock."""

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from psycopg_pool import ConnectionPool

from penstock.schemas.identity import job_id
from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import PublishPost, publish_key
from penstock.workers.accounts.account import NewAccount
from penstock.workers.accounts.store import add_account
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone, Retry
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.platforms.mastodon import Mastodon
from penstock.workers.posts.authorising import Authoriser
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.conversation import Speaker
from penstock.workers.posts.means import Means
from penstock.workers.posts.publisher import Publisher
from penstock.workers.posts.steps import Steps
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.limits import RateLimits
from penstock.workers.settings import WorkerSettings
from penstock.workers.stand_in.server import StandIn
from tests.posts_kit import KEY, KEYS, TENANT, Connection, given, new_post, row_of, tokens_of
from tests.workers.platforms.driver import content_of

#: Runs of one job; a post that needs more goes round and round.
RUNS = 60


@dataclass
class Driven:
    """How a job ended, and what came before its end."""

    outcome: Outcome
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: int = 0

    @property
    def waits(self) -> list[str]:
        return [one.blocked_by for one in self.outcomes if isinstance(one, Postpone)]


class PublishKit:
    """One worker process, as far as publishing goes."""

    def __init__(
        self,
        stack: ExitStack,
        settings: WorkerSettings,
        stand_in: StandIn,
        connection: Connection,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.stand_in, self.connection, self.settings = stand_in, connection, settings
        self.pool: ConnectionPool[Any] = stack.enter_context(open_pool(settings, "test-publish"))
        client = stack.enter_context(redis.Redis.from_url(settings.redis_url))
        self.circuits = Circuits(client, settings.namespace, settings)
        self.limits = RateLimits(client, settings.namespace)
        self.platforms = stack.enter_context(Platforms(settings))
        mastodon = self.platforms.by_name["mastodon"]
        assert isinstance(mastodon, Mastodon)
        mastodon._clock = stand_in.world.now
        transactions = Transactions(self.pool, settings)
        now = clock or stand_in.world.now
        means = Means(
            Steps(transactions),
            Authoriser(transactions, settings.token_keys, self.platforms, "test", now),
            self.platforms,
            Speaker(self.circuits, self.limits, "test", "0", now),
            timedelta(),
            settings.look_up_waits,
            3,
            now,
        )
        self.publisher = Publisher(means)

    def account(self, platform: str, name: str, **tokens: Any) -> uuid.UUID:
        """An account that the stand-in knows by `name`; its first token is `<name>.0`."""
        account_id = uuid.uuid4()
        sealed = given(account_id, tokens_of(f"{name}.0", tokens.pop("refresh", None)), KEYS, **tokens)
        add_account(self.connection, TENANT, NewAccount(account_id, "press", platform, name, name, {}), sealed)
        return account_id

    def post(self, kind: str, account: uuid.UUID, text: str = "A fine day & more", **members: Any) -> uuid.UUID:
        """A post of a kind of the driver's, due a moment ago."""
        content = members.pop("content", None) or content_of(self.stand_in, kind, text)[1]
        due = members.pop("due", self.stand_in.world.now() - timedelta(seconds=1))
        return new_post(self.connection, account, due, content=PostContent.model_validate(content), **members)

    def claim(self, post_id: uuid.UUID) -> Job:
        """Claim what is due, and give the job of this post."""
        with self.pool.connection() as connection:
            claim_due(connection, self.stand_in.world.now())
        return self.job(post_id)

    def job(self, post_id: uuid.UUID) -> Job:
        """The job of a post as it stands."""
        version, account, platform, due = row_of(self.connection, post_id, "version, account_id, platform, due_at")
        order = PublishPost(post_id=post_id, version=version, account_id=account, platform=platform, due_at=due)
        made = job_id(TENANT, PublishPost.kind, publish_key(post_id, version))
        body = order.model_dump_json().encode()
        return Job(made, PublishPost.kind, TENANT, self.stand_in.world.now(), 1, body, f"{made}/{uuid.uuid4()}")

    def once(self, job: Job) -> Outcome:
        """One run."""
        return self.publisher.publish(job, PublishPost.model_validate_json(job.payload))

    def drive(self, job: Job, until: Callable[[Outcome], bool] = lambda _: False) -> Driven:
        """Run the job until it ends, or an outcome is what `until` waits for; waits pass by the stand-in's clock."""
        outcomes: list[Outcome] = []
        attempt = 1
        for run in range(RUNS):
            outcome = self._run(job, attempt, run)
            outcomes.append(outcome)
            match outcome:
                case Done() | Dead():
                    return Driven(outcome, outcomes, attempt)
                case _ if until(outcome):
                    return Driven(outcome, outcomes, attempt)
                case Postpone(delay=delay):
                    self.stand_in.world.advance(delay)
                case Retry(delay=named):
                    attempt += 1
                    self.stand_in.world.advance(named or timedelta(seconds=30))
        raise AssertionError(f"not at its end after {RUNS} runs: {outcomes}")

    def _run(self, job: Job, attempt: int, run: int) -> Outcome:
        again = Job(job.job_id, job.kind, job.tenant, job.enqueued_at, attempt, job.payload, f"{job.holder}/{run}")
        try:
            return self.once(again)
        except CircuitOpenError as error:
            return Postpone(error.retry_after, error.blocked_by)

    def state(self, post_id: uuid.UUID) -> str:
        return str(row_of(self.connection, post_id))


def kit_settings(url: str, redis_url: str, namespace: str, stand_in: StandIn, **more: str) -> WorkerSettings:
    """Settings of a worker that talks to the stand-in."""
    return WorkerSettings.from_environment(
        {
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "PENSTOCK_NAMESPACE": namespace,
            "PENSTOCK_TOKEN_KEYS": f"k1:{KEY}",
            "PENSTOCK_PLATFORM_READ_SECONDS": "1",
            "PENSTOCK_UPLOAD_PIECE_BYTES": "262144",
            "PENSTOCK_POOL_MIN": "1",
            "PENSTOCK_POST_LOOK_UP_SECONDS": "5,30,120",
            **stand_in.environment(),
            **more,
        }
    )
