"""Posts whose job ended without them: each ends with a reason, unless its job lives or will be enqueued again."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import redis

from penstock.producers.queue.enqueueing import Enqueuer
from penstock.producers.queue.records import JobRecords
from penstock.producers.storage.posts_changes import reschedule
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.archive import Archive
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.notes import Notes
from penstock.workers.posts.publishing import Began, Marked, begin_publish, mark_published, store_handle
from penstock.workers.scheduler import stuck_posts as stuck_module
from penstock.workers.scheduler.kinds import KindFacts
from penstock.workers.scheduler.offering import Keep, Offering
from penstock.workers.scheduler.relay import Relay
from penstock.workers.scheduler.stuck_posts import LOOK_EVERY, StuckPosts
from penstock.workers.scheduler.sweep import Sweep
from penstock.workers.telemetry.metrics import POSTS_JOBLESS
from tests.posts_kit import TENANT, Connect, Connection, ago, new_post, row_of
from tests.workers.dead_letters.letter_kit import again, death
from tests.workers.scheduler.conftest import Outbox

PUBLISH = "scheduled_post.publish"
AFTER = timedelta(minutes=10)


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    def seconds(self) -> float:
        return self.passed.total_seconds()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def stuck(transactions: Transactions, client: "redis.Redis", namespace: str, time: Time) -> StuckPosts:
    return StuckPosts(transactions, JobRecords(client, namespace), AFTER, time.now, time.seconds)


@pytest.fixture
def offering(client: "redis.Redis", namespace: str) -> Offering:
    kinds = {PUBLISH: KindFacts(Queue.PUBLISHING, ledger=True, urgent=True)}
    return Offering(Enqueuer(client, namespace), kinds, Keep(timedelta(days=7), timedelta(hours=1)))


@pytest.fixture
def post(connection: Connection, account: uuid.UUID) -> uuid.UUID:
    """A claimed post."""
    post_id = new_post(connection, account)
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    return post_id


def counted(became: str) -> float:
    return POSTS_JOBLESS.labels(became)._value.get()


def job_of(connection: Connection, post_id: uuid.UUID) -> uuid.UUID:
    found: uuid.UUID = row_of(connection, post_id, "claimed_by")
    return found


def letter(connection: Connection, post_id: uuid.UUID, code: str = "JOB_POISON") -> LetterRecord:
    """Have the post's job be a dead letter."""
    made = death(job_id=job_of(connection, post_id), kind=PUBLISH, queue="publishing", tenant=TENANT, code=code)
    with connection.transaction():
        insert_letters(connection, [made])
    return made


def begin(connection: Connection, post_id: uuid.UUID, visible_for: timedelta) -> None:
    assert begin_publish(connection, post_id, 2, None, visible_for) == Began(1)


@pytest.mark.parametrize("code", ["JOB_POISON", "JOB_TIME_LIMIT", "JOB_DEADLINE_EXCEEDED", "OF_ANOTHER_RELEASE"])
def test_a_claimed_post_whose_job_died_is_dead_for_the_same_reason(
    connection: Connection, stuck: StuckPosts, post: uuid.UUID, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert stuck.run_once() is False
    assert row_of(connection, post) == "claimed"
    before = counted("dead")
    letter(connection, post, code)
    stuck.run_once()
    assert row_of(connection, post, "state, last_code") == ("dead", code)
    assert counted("dead") == before + 1
    assert f"the job of the post {post} died without it; the post is dead" in caplog.text


def test_one_that_was_being_published_is_of_unknown_outcome_once_its_try_is_over(
    connection: Connection, stuck: StuckPosts, post: uuid.UUID
) -> None:
    begin(connection, post, timedelta(hours=1))
    letter(connection, post, "JOB_TIME_LIMIT")
    stuck.run_once()
    # The call may still be under way: who published it again now might publish it twice.
    assert row_of(connection, post) == "publishing"
    connection.execute("UPDATE penstock.scheduled_posts SET attempt_ends_by = clock_timestamp()")
    stuck.run_once()
    assert row_of(connection, post, "state, last_code") == ("unknown_outcome", "JOB_TIME_LIMIT")
    # A late answer is the truth all the same.
    assert mark_published(connection, post, "ig-7") is Marked.NOW


def test_with_an_earlier_try_in_doubt_a_claimed_one_is_of_unknown_outcome(
    connection: Connection, stuck: StuckPosts, post: uuid.UUID
) -> None:
    assert store_handle(connection, post, 2, None, Notes(doubts=1).as_json())
    letter(connection, post)
    stuck.run_once()
    assert row_of(connection, post) == "unknown_outcome"


def test_a_job_that_was_called_back_still_has_its_post(
    connection: Connection, stuck: StuckPosts, transactions: Transactions, post: uuid.UUID
) -> None:
    first = letter(connection, post)
    LetterDecisions(transactions).requeue([first.dead_id], "ada", "again")
    stuck.run_once()
    assert row_of(connection, post) == "claimed"
    with connection.transaction():
        insert_letters(connection, [again(first)])
    stuck.run_once()
    assert row_of(connection, post) == "dead"


def test_a_letter_that_was_discarded_leaves_no_post_behind(
    connection: Connection, stuck: StuckPosts, transactions: Transactions, post: uuid.UUID
) -> None:
    LetterDecisions(transactions).discard([letter(connection, post).dead_id], "ada", "not wanted")
    stuck.run_once()
    assert row_of(connection, post) == "dead"


def test_the_letter_of_an_earlier_version_is_nothing_to_the_post(
    connection: Connection, stuck: StuckPosts, post: uuid.UUID
) -> None:
    letter(connection, post)
    reschedule(connection, TENANT, post, ago(hours=1))
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    stuck.run_once()
    assert row_of(connection, post, "state, version") == ("claimed", 4)


def test_a_post_that_somebody_works_on_is_waited_for_by_nobody(
    connection: Connection, connect: Connect, stuck: StuckPosts, post: uuid.UUID
) -> None:
    letter(connection, post)
    working = connect()
    working.execute("SELECT FROM penstock.scheduled_posts FOR UPDATE")
    stuck.run_once()
    assert row_of(connection, post) == "claimed"
    working.rollback()
    stuck.run_once()
    assert row_of(connection, post) == "dead"


def test_from_the_workers_death_to_the_posts_end(
    connection: Connection,
    stuck: StuckPosts,
    transactions: Transactions,
    offering: Offering,
    outbox: Outbox,
    post: uuid.UUID,
) -> None:
    Relay(transactions, offering, timedelta()).run_once()
    (job,) = outbox.leases.lease("publishing", 10, 1).jobs
    assert job.job_id == str(job_of(connection, post))
    buried = Settlement(job, Verb.BURY, {"code": "JOB_POISON", "told": "it took three workers down", "entry": "{}"})
    assert all(outbox.leases.settle("publishing", [buried]))
    Archive(outbox.client, outbox.namespace, transactions).run_round("publishing")
    stuck.run_once()
    assert row_of(connection, post, "state, last_code") == ("dead", "JOB_POISON")


def test_a_job_that_redis_lost_is_enqueued_again_by_the_sweep_and_its_post_is_not_stuck(
    connection: Connection,
    stuck: StuckPosts,
    transactions: Transactions,
    offering: Offering,
    outbox: Outbox,
    post: uuid.UUID,
    time: Time,
) -> None:
    before = counted("stuck")
    Relay(transactions, offering, timedelta()).run_once()
    outbox.lose_redis()
    time.passed = AFTER * 2
    stuck.run_once()
    assert (outbox.state(job_of(connection, post)), counted("stuck")) == (None, before)
    Sweep(transactions, offering, JobRecords(outbox.client, outbox.namespace), timedelta()).run_once()
    (job,) = outbox.leases.lease("publishing", 10, 1).jobs
    assert job.job_id == str(job_of(connection, post))
    assert row_of(connection, post) == "claimed"


def test_a_post_whose_job_waits_is_not_stuck_however_long(
    stuck: StuckPosts,
    transactions: Transactions,
    offering: Offering,
    outbox: Outbox,
    post: uuid.UUID,
    time: Time,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Relay(transactions, offering, timedelta()).run_once()
    outbox.database.query("DELETE FROM penstock.outbox")
    time.passed = AFTER * 100
    stuck.run_once()
    assert "nobody knows its job" not in caplog.text
    outbox.lose_redis()
    time.passed += LOOK_EVERY
    stuck.run_once()
    assert "nobody knows its job" in caplog.text


def test_what_nobody_knows_is_told_of_once(
    connection: Connection,
    stuck: StuckPosts,
    account: uuid.UUID,
    time: Time,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stuck_module, "ROUND_POSTS", 3)
    posts = {new_post(connection, account) for _ in range(7)}
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    connection.execute("DELETE FROM penstock.outbox")

    def told_of() -> list[uuid.UUID]:
        return [post for post in posts for line in caplog.messages if f"the post {post} is claimed since" in line]

    def look() -> None:
        while stuck.run_once():
            pass

    before = counted("stuck")
    look()
    assert told_of() == []
    time.passed = AFTER * 2
    look()
    assert (set(told_of()), len(told_of()), counted("stuck")) == (posts, 7, before + 7)
    time.passed += LOOK_EVERY
    look()
    assert len(told_of()) == 7
