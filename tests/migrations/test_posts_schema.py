"""The tables of posts and accounts: who may do what, the partitions of attempts, and the way down."""

from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg import errors

from penstock.migrations.runner import Migrator
from tests.migrations.catalogue import catalogue

WORKER, READER = {"penstock_worker"}, {"penstock_reader"}
ACCOUNT = """
    INSERT INTO penstock.social_accounts
           (account_id, tenant, owner, platform, external_id, name, token_ciphertext, key_id)
    VALUES ('00000000-0000-0000-0000-000000000001', 't', 'o', 'mastodon', 'x', 'n', '', 'k1')
"""
POST = """
    INSERT INTO penstock.scheduled_posts
           (post_id, tenant, owner, account_id, platform, content, due_at, grace, digest)
    VALUES (gen_random_uuid(), 't', 'o', '00000000-0000-0000-0000-000000000001', 'mastodon', '{}', now(), '1 hour', '')
"""
ATTEMPT = """
    INSERT INTO penstock.publish_attempts
           (at, attempt_id, post_id, tenant, account_id, platform, attempt, phase, request, answer_class, seconds,
            worker, release)
    VALUES (%s, gen_random_uuid(), gen_random_uuid(), 't', gen_random_uuid(), 'mastodon', 0, 'prepare', '{}', 'ok', 1,
            'w', 'r')
"""

#: What a role may do: the statement, and the roles that may.
RIGHTS = {
    "read accounts whole": ("SELECT * FROM penstock.social_accounts", WORKER),
    "read accounts": ("SELECT name, state, key_id FROM penstock.social_accounts", WORKER | READER),
    "add an account": (ACCOUNT.replace("001'", "002'").replace("'x'", "'y'"), WORKER),
    "take a lease": ("UPDATE penstock.social_accounts SET refresh_fence = 1", WORKER),
    "make an account another": ("UPDATE penstock.social_accounts SET external_id = 'y'", set()),
    "move an account": ("UPDATE penstock.social_accounts SET tenant = 'y'", set()),
    "remove an account": ("DELETE FROM penstock.social_accounts", set()),
    "read posts": ("SELECT * FROM penstock.scheduled_posts", WORKER | READER),
    "add a post": (POST, WORKER),
    "claim posts": ("SELECT FROM penstock.scheduled_posts FOR UPDATE SKIP LOCKED", WORKER),
    "lock an account": ("SELECT FROM penstock.social_accounts FOR SHARE", WORKER),
    "change what a post says": ("UPDATE penstock.scheduled_posts SET content = '{}'", set()),
    "change whose it is": ("UPDATE penstock.scheduled_posts SET account_id = account_id", set()),
    "remove a post": ("DELETE FROM penstock.scheduled_posts", set()),
    "read attempts": ("SELECT * FROM penstock.publish_attempts", WORKER | READER),
    "record an attempt": (ATTEMPT.replace("%s", "now()"), WORKER),
    "change an attempt": ("UPDATE penstock.publish_attempts SET code = NULL", set()),
    "remove an attempt": ("DELETE FROM penstock.publish_attempts", set()),
    "make partitions": ("SELECT penstock.ensure_publish_attempts_partitions(5)", WORKER),
    "drop old partitions": ("SELECT penstock.drop_publish_attempts_partitions(24)", WORKER),
    "delete old posts": ("SELECT penstock.delete_ended_posts(now() - INTERVAL '1 year', 10)", WORKER),
    "wake schedulers": ("SELECT penstock.tell_of_due_post()", set()),
    "drop a partition": ("DROP TABLE penstock.publish_attempts_default", set()),
}


@pytest.mark.parametrize("role", ["penstock_producer", "penstock_worker", "penstock_reader", "pg_monitor"])
@pytest.mark.parametrize(("statement", "allowed"), RIGHTS.values(), ids=RIGHTS.keys())
def test_each_role_may_do_what_it_needs(
    scratch: psycopg.Connection, statement: str, allowed: set[str], role: str
) -> None:
    scratch.execute(ACCOUNT)
    scratch.execute(POST)
    scratch.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
    if role in allowed:
        scratch.execute(statement.encode())
        return
    with pytest.raises(errors.InsufficientPrivilege), scratch.transaction():
        scratch.execute(statement.encode())


IMPOSSIBLE = {
    "published at no time": "UPDATE penstock.scheduled_posts SET state = 'published'",
    "claimed by nobody": "UPDATE penstock.scheduled_posts SET state = 'claimed'",
    "publishing without a try": "UPDATE penstock.scheduled_posts SET state = 'publishing', claimed_by = post_id",
    "held and parked": "UPDATE penstock.scheduled_posts SET state = 'held', parked_at = now()",
    "a state that is none": "UPDATE penstock.scheduled_posts SET state = 'lost'",
    "due never": "UPDATE penstock.scheduled_posts SET due_at = 'infinity'",
    "an account's state that is none": "UPDATE penstock.social_accounts SET state = 'expired'",
}


@pytest.mark.parametrize("statement", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_not_be_is_refused(scratch: psycopg.Connection, statement: str) -> None:
    scratch.execute(ACCOUNT)
    scratch.execute(POST)
    with pytest.raises(errors.CheckViolation), scratch.transaction():
        scratch.execute(statement.encode())


def test_a_post_needs_an_account(scratch: psycopg.Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation), scratch.transaction():
        scratch.execute(POST)


def month(distance: int) -> date:
    """The first day of the month that lies so many months ahead."""
    today = datetime.now(UTC).date()
    years, months = divmod(today.month - 1 + distance, 12)
    return date(today.year + years, months + 1, 1)


def partitions(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'penstock.publish_attempts'::regclass"
    )
    return {str(name).removeprefix("publish_attempts_") for (name,) in rows}


def named(*months: date) -> set[str]:
    return {f"y{first:%Y}m{first:%m}" for first in months}


def test_the_migration_makes_the_month_before_this_one_and_three_more(scratch: psycopg.Connection) -> None:
    assert partitions(scratch) == named(*map(month, range(-1, 4))) | {"default"}
    assert scratch.execute("SELECT penstock.ensure_publish_attempts_partitions(13)").fetchone() == (10,)
    assert scratch.execute("SELECT penstock.ensure_publish_attempts_partitions(13)").fetchone() == (0,)


@pytest.mark.parametrize("wrong", [None, date(2019, 12, 31), month(14)], ids=str)
def test_an_impossible_month_is_refused(scratch: psycopg.Connection, wrong: date | None) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="between 2020-01 and 13 months ahead"):
        scratch.execute("SELECT penstock.ensure_publish_attempts_partition(%s)", (wrong,))


def test_a_late_partition_takes_its_rows_out_of_the_default_one(scratch: psycopg.Connection) -> None:
    for instant in ("2020-02-01 00:00:00Z", "2020-02-29 23:59:59Z", "2020-03-01 00:00:00Z"):
        scratch.execute(ATTEMPT, (instant,))
    scratch.execute("SELECT penstock.ensure_publish_attempts_partition('2020-02-15')")
    places = scratch.execute("SELECT tableoid::regclass::text FROM penstock.publish_attempts ORDER BY at").fetchall()
    february, rest = ("penstock.publish_attempts_y2020m02",), ("penstock.publish_attempts_default",)
    assert places == [february, february, rest]


def test_retention_drops_whole_months_that_are_old_enough(scratch: psycopg.Connection) -> None:
    for distance in (-26, -25, -24, -23):
        scratch.execute("SELECT penstock.ensure_publish_attempts_partition(%s)", (month(distance),))
    assert scratch.execute("SELECT penstock.drop_publish_attempts_partitions()").fetchone() == (2,)
    assert partitions(scratch) == named(*map(month, (-24, -23, *range(-1, 4)))) | {"default"}
    with pytest.raises(errors.InvalidParameterValue), scratch.transaction():
        scratch.execute("SELECT penstock.drop_publish_attempts_partitions(11)")


def test_up_makes_the_partitions_of_later_months_too(url: str) -> None:
    Migrator(url).up()
    with psycopg.connect(url, autocommit=True) as connection:
        latest = f"penstock.publish_attempts_y{month(3):%Y}m{month(3):%m}"
        connection.execute(f"DROP TABLE {latest}".encode())
        assert Migrator(url).up() == []
        assert connection.execute("SELECT to_regclass(%s)::text", (latest,)).fetchone() == (latest,)


def test_the_way_down_and_up_again_is_the_same_schema(url: str) -> None:
    migrator = Migrator(url)
    migrator.up()
    with psycopg.connect(url, autocommit=True) as connection:
        made = catalogue(connection)
        migrator.down(11)
        assert connection.execute("SELECT to_regclass('penstock.social_accounts')").fetchone() == (None,)
        migrator.up()
        assert catalogue(connection) == made
