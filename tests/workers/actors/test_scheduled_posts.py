"""The actors of posts as a worker has them: groups, faults of one among many, gates."""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from penstock.schemas.errors import Code
from penstock.schemas.post_content import PostContent
from penstock.schemas.scheduled_post import PublishPost, SchedulePost
from penstock.workers.actors.scheduled_post_publish import gates_of
from penstock.workers.actors.scheduled_post_schedule import SchedulePosts
from penstock.workers.database.pool import open_pool
from penstock.workers.database.transaction import Transactions
from penstock.workers.job import Dead, Done, Job
from penstock.workers.platforms.catalogue import Platforms
from penstock.workers.stand_in.server import StandIn
from tests.posts_kit import TENANT, Connection, account, connect, connection, post_of, row_of
from tests.system import Database
from tests.workers.posts.publish_kit import kit_settings

__all__ = ["account", "connect", "connection"]


@pytest.fixture
def schedule(database: Database, redis_url: str, namespace: str) -> Iterator["Schedule"]:
    with ExitStack() as stack:
        settings = kit_settings(database.url, redis_url, namespace, stack.enter_context(StandIn()))
        pool = stack.enter_context(open_pool(settings, "test-schedule"))
        platforms = stack.enter_context(Platforms(settings))
        yield Schedule(SchedulePosts(platforms), Transactions(pool, settings))


class Schedule:
    """The actor in transactions of its own."""

    def __init__(self, actor: SchedulePosts, transactions: Transactions) -> None:
        self._actor, self._transactions = actor, transactions

    def __call__(self, *jobs: Job) -> list[Done | Dead]:
        outcomes = self._transactions.run(lambda transaction: self._actor(jobs, transaction))
        assert all(isinstance(one, Done | Dead) for one in outcomes)
        return [one for one in outcomes if isinstance(one, Done | Dead)]


def job_of(order: SchedulePost, tenant: str = TENANT) -> Job:
    return Job(uuid.uuid4(), SchedulePost.kind, tenant, datetime.now(UTC), 1, order.model_dump_json().encode())


def test_posts_of_one_delivery_are_stored_and_the_bad_ones_dead(
    schedule: Schedule, connection: Connection, account: uuid.UUID
) -> None:
    picture = {"url": "https://example.org/a.jpg"}
    good = job_of(post_of(account, content=PostContent.model_validate({"text": "one", "media": [picture]})))
    bad = job_of(post_of(account, content=PostContent.model_validate({"text": "x" * 2_201, "media": [picture] * 11})))
    nobody = job_of(post_of(uuid.uuid4()))
    foreign = job_of(post_of(account), tenant="other")
    far = job_of(post_of(account, datetime.now(UTC) + timedelta(days=5_000)))
    outcomes = schedule(good, bad, nobody, foreign, far)
    assert outcomes[0] == Done(counts={"scheduled": 1})
    codes = [one.code for one in outcomes[1:] if isinstance(one, Dead)]
    not_there = Code.ACCOUNT_NOT_FOUND
    assert codes == [Code.POST_TEXT_TOO_LONG, not_there, not_there, Code.POST_SCHEDULE_INVALID]
    told = outcomes[1]
    assert isinstance(told, Dead)
    assert "2,201 characters" in told.message
    assert "11 media" in told.message
    assert row_of(connection, good.job_id, "state, platform, owner") == ("scheduled", "instagram", "press")
    assert connection.execute("SELECT count(*) FROM penstock.scheduled_posts").fetchone() == (1,)
    # A redelivery changes nothing, and says so.
    assert schedule(good) == [Done(repeated=True)]


def test_a_known_id_with_another_post_is_a_conflict(
    schedule: Schedule, connection: Connection, account: uuid.UUID
) -> None:
    content = {"text": "one", "media": [{"url": "https://example.org/a.jpg"}]}
    first = job_of(post_of(account, content=PostContent.model_validate(content)))
    other = job_of(post_of(account, content=PostContent.model_validate(content | {"text": "two"})))
    assert schedule(first) == [Done(counts={"scheduled": 1})]
    (refused,) = schedule(Job(first.job_id, other.kind, TENANT, other.enqueued_at, 1, other.payload))
    assert isinstance(refused, Dead)
    assert refused.code == Code.POST_CONFLICT
    assert row_of(connection, first.job_id, "content")["text"] == "one"


@pytest.mark.parametrize(
    ("platform", "numbers"),
    [("instagram", [25, 50]), ("facebook", [50]), ("youtube", [10, 100]), ("mastodon", [10]), ("unheard-of", [])],
)
def test_a_post_passes_its_accounts_and_platforms_gates_and_takes_of_limits_once(
    platform: str, numbers: list[int]
) -> None:
    account = uuid.uuid4()
    order = PublishPost(
        post_id=uuid.uuid4(), version=2, account_id=account, platform=platform, due_at=datetime.now(UTC)
    )
    gates = gates_of(Job(uuid.uuid4(), order.kind, TENANT, order.due_at, 1, order.model_dump_json().encode()))
    assert gates.keys == (f"account:{account}", f"platform:{platform}")
    assert gates.circuits == (f"platform:{platform}",)
    assert [use.limit for use in gates.uses] == numbers
    assert all(use.once for use in gates.uses)


def test_a_payload_that_can_not_be_read_passes_to_the_actor_that_tells_what_is_wrong() -> None:
    broken = json.dumps({"post_id": 3}).encode()
    gates = gates_of(Job(uuid.uuid4(), PublishPost.kind, TENANT, datetime.now(UTC), 1, broken))
    assert (gates.keys, gates.circuits, gates.uses) == ((), (), ())
