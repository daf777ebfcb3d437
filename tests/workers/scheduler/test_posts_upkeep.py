"""Upkeep of posts: partitions ahead, old ones dropped, parked posts let go, and what ended long ago deleted."""

import logging
import uuid
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from penstock.schemas.errors import PenstockError
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.store import insert_letters
from penstock.workers.posts import retention as retention_module
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.retention import PostsRetention
from penstock.workers.scheduler.posts_upkeep import EndedPostsRetention, PostsUpkeep
from tests.posts_kit import TENANT, Connect, Connection, new_post, row_of
from tests.system import Database
from tests.workers.dead_letters.letter_kit import death

KEEP = timedelta(days=730)
MONTHS = """
SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid
 WHERE inhparent = 'penstock.publish_attempts'::regclass AND relname ~ 'y[0-9]{4}m[0-9]{2}$'
"""


@pytest.fixture
def upkeep(transactions: Transactions) -> PostsUpkeep:
    return PostsUpkeep(transactions, keep_months=24)


def test_partitions_are_made_ahead_and_dropped_when_they_are_old(
    upkeep: PostsUpkeep, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    # This month, the one before and three more, as the migration left them.
    assert database.value(MONTHS) == 5
    latest = f"publish_attempts_y{month(3):%Y}m{month(3):%m}"
    database.query(f"DROP TABLE penstock.{latest}")
    for distance in (-24, -25):
        database.query("SELECT penstock.ensure_publish_attempts_partition(%s)", month(distance))
    with caplog.at_level(logging.INFO):
        assert upkeep.run_once() is False
    assert database.value("SELECT to_regclass(%s)", f"penstock.{latest}") is not None
    assert database.value(MONTHS) == 6
    assert "made 1 partition(s)" in caplog.text
    assert "dropped 1 old partition(s)" in caplog.text
    caplog.clear()
    upkeep.run_once()
    assert caplog.text == ""


def month(distance: int) -> date:
    today = datetime.now(UTC)
    years, months = divmod(today.month - 1 + distance, 12)
    return date(today.year + years, months + 1, 1)


def test_a_post_that_was_left_parked_goes(
    upkeep: PostsUpkeep, connection: Connection, account: uuid.UUID, caplog: pytest.LogCaptureFixture
) -> None:
    post = new_post(connection, account)
    connection.execute("UPDATE penstock.scheduled_posts SET parked_at = now()")
    upkeep.run_once()
    assert row_of(connection, post, "parked_at") is None
    assert "1 post(s) were parked, though their accounts are active" in caplog.text


def test_a_step_that_fails_keeps_no_other_waiting(
    upkeep: PostsUpkeep, connection: Connection, connect: Connect, database: Database, account: uuid.UUID
) -> None:
    post = new_post(connection, account)
    connection.execute("UPDATE penstock.scheduled_posts SET parked_at = now()")
    old = f"publish_attempts_y{month(-25):%Y}m{month(-25):%m}"
    database.query("SELECT penstock.ensure_publish_attempts_partition(%s)", month(-25))
    reading = connect()
    reading.execute(f"SELECT FROM penstock.{old}".encode())
    with pytest.raises(PenstockError, match="STORAGE_"):
        upkeep.run_once()
    assert row_of(connection, post, "parked_at") is None
    reading.rollback()
    upkeep.run_once()
    assert database.value("SELECT to_regclass(%s)", f"penstock.{old}") is None


ENDED = ("published", "dead", "cancelled", "expired")
GO_ON = ("scheduled", "held", "claimed", "publishing", "unknown_outcome")


def in_state(connection: Connection, account: uuid.UUID, state: str, days: int) -> uuid.UUID:
    """A post that came into a state so many days ago."""
    post = new_post(connection, account)
    connection.execute(
        "UPDATE penstock.scheduled_posts SET state = %s, updated_at = now() - make_interval(days => %s),"
        " published_at = now(), claimed_by = gen_random_uuid(), claimed_at = now(), attempts = 1,"
        " attempt_ends_by = now() WHERE post_id = %s",
        (state, days, post),
    )
    return post


def left(connection: Connection) -> set[uuid.UUID]:
    return {row[0] for row in connection.execute("SELECT post_id FROM penstock.scheduled_posts")}


def test_what_ended_long_ago_is_deleted_and_nothing_else(
    transactions: Transactions, connection: Connection, account: uuid.UUID
) -> None:
    kept = {in_state(connection, account, state, 10_000) for state in GO_ON}
    kept |= {in_state(connection, account, state, 729) for state in ENDED}
    for state in ENDED:
        in_state(connection, account, state, 731)
    assert PostsRetention(transactions, KEEP).run_round() == 4
    assert left(connection) == kept


def test_a_post_with_a_letter_that_waits_for_somebody_stays(
    transactions: Transactions, connection: Connection, account: uuid.UUID
) -> None:
    """The letter may be of the job that took the post in, or of any that was to publish it."""
    opened, called_back, discarded, first = (new_post(connection, account) for _ in range(4))
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    jobs = {post: row_of(connection, post, "claimed_by") for post in (opened, called_back, discarded)}
    letters = {post: letter(job) for post, job in (jobs | {first: first}).items()}
    with connection.transaction():
        insert_letters(connection, list(letters.values()))
    decisions = LetterDecisions(transactions)
    decisions.requeue([letters[called_back].dead_id], "ada", "again")
    decisions.discard([letters[discarded].dead_id], "ada", "no")
    # Since then they were decided on, so that no row names the job any more.
    connection.execute(
        "UPDATE penstock.scheduled_posts SET state = 'cancelled', version = version + 1, claimed_by = NULL,"
        " updated_at = now() - INTERVAL '800 days'"
    )
    assert PostsRetention(transactions, KEEP).run_round() == 1
    assert left(connection) == {opened, called_back, first}


def letter(job: uuid.UUID) -> LetterRecord:
    return death(job_id=job, kind="scheduled_post.publish", queue="publishing", tenant=TENANT)


def test_it_deletes_in_rounds_by_its_index(
    transactions: Transactions, connection: Connection, account: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "ROUND_ROWS", 3)
    monkeypatch.setattr("penstock.workers.scheduler.posts_upkeep.ROUND_ROWS", 3)
    for _ in range(7):
        in_state(connection, account, "published", 800)
    loop = EndedPostsRetention(PostsRetention(transactions, KEEP))
    assert [loop.run_once() for _ in range(3)] == [True, True, False]
    assert left(connection) == set()


def test_the_database_itself_keeps_what_ended_lately(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="within the last 30 days stay"):
        connection.execute("SELECT penstock.delete_ended_posts(now() - INTERVAL '29 days', 10)")
