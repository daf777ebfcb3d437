"""Scheduler processes and posts: each post claimed once by however many, whatever is killed in between."""

import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests import forked
from tests.posts_kit import KEY, Connect, Connection, ago, new_account, new_post, row_of
from tests.system import Database, WorkerProcess, wait_for
from tests.workers.scheduler.conftest import Outbox

FILL = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, due_at, grace, digest)
SELECT gen_random_uuid(), 'acme', 'press', %s, 'instagram', '{"text": "Hello"}', now() + n * INTERVAL '5 ms',
       '1 hour', ''
  FROM generate_series(1, %s) AS n
"""
#: A lead of none, so that what is claimed is due, and no keys.
ENV = {"PENSTOCK_POST_LEAD_SECONDS": "0"}


class Scheduler(WorkerProcess):
    """A running `penstock scheduler` and what it logged."""

    def told(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    def wait_until_ready(self) -> "Scheduler":
        ready = "the scheduler is ready"
        wait_for(lambda: self.told(ready) or self.process.poll() is not None, ready)
        assert self.told(ready), "\n".join(self.lines)
        return self


Start = Callable[..., Scheduler]


@pytest.fixture
def start(environment: dict[str, str], outbox: Outbox, connect: Connect) -> Iterator[Start]:
    started: list[Scheduler] = []

    def run(**env: str) -> Scheduler:
        scheduler = Scheduler(forked.start(["scheduler"], environment | ENV | env, stderr=subprocess.PIPE))
        scheduler.reader.start()
        started.append(scheduler)
        return scheduler

    yield run
    for scheduler in started:
        if scheduler.process.poll() is None:
            scheduler.process.kill()
        scheduler.process.wait(30)
        if scheduler.process.stderr is not None:
            scheduler.process.stderr.close()


def count(connection: Connection, state: str) -> int:
    row = connection.execute("SELECT count(*) FROM penstock.scheduled_posts WHERE state = %s", (state,)).fetchone()
    assert row is not None
    return int(row[0])


def assert_each_has_one_job(connection: Connection, posts: int) -> None:
    """Each post is claimed once, for its second version, and that job is in the outbox, once."""
    row = connection.execute("""
        SELECT count(*), count(DISTINCT o.job_id), max(p.version)
          FROM penstock.scheduled_posts p JOIN penstock.outbox o ON o.job_id = p.claimed_by WHERE p.state = 'claimed'
    """).fetchone()
    assert row == (posts, posts, 2)
    assert connection.execute("SELECT count(*) FROM penstock.outbox").fetchone() == (posts,)


def test_two_schedulers_claim_two_thousand_posts_each_once(
    start: Start, connection: Connection, account: uuid.UUID
) -> None:
    for scheduler in [start(), start()]:
        scheduler.wait_until_ready()
    connection.execute(FILL.encode(), (account, 2_000))
    wait_for(lambda: count(connection, "claimed") == 2_000, "the claims")
    assert_each_has_one_job(connection, 2_000)


def test_a_scheduler_that_is_killed_in_the_middle_of_a_claim_loses_nothing(
    start: Start, connection: Connection, database: Database, account: uuid.UUID
) -> None:
    connection.execute(FILL.encode(), (account, 500))
    connection.execute("UPDATE penstock.scheduled_posts SET due_at = now()")
    with psycopg.connect(database.admin_url) as holding:
        # Claimed posts have no jobs while this is held.
        holding.execute("LOCK TABLE penstock.outbox IN SHARE MODE")
        scheduler = start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'penstock.outbox'::regclass"
        wait_for(lambda: database.value(waiting) > 0, "a claim that waits for the outbox")
        scheduler.process.send_signal(signal.SIGKILL)
        scheduler.process.wait(30)
    assert count(connection, "claimed") == 0
    start()
    wait_for(lambda: count(connection, "claimed") == 500, "the claims of the next one")
    assert_each_has_one_job(connection, 500)


def test_a_post_that_is_stored_for_now_is_claimed_at_once_and_the_lead_is_a_setting(
    start: Start, connection: Connection, account: uuid.UUID
) -> None:
    scheduler = start(PENSTOCK_POST_LEAD_SECONDS="3600").wait_until_ready()
    near, far = new_post(connection, account, ago(minutes=-59)), new_post(connection, account, ago(minutes=-62))
    wait_for(lambda: row_of(connection, near) == "claimed", "the claim ahead")
    assert row_of(connection, far) == "scheduled"
    assert scheduler.process.poll() is None


def test_without_keys_it_says_once_that_it_refreshes_no_tokens(start: Start) -> None:
    scheduler = start().wait_until_ready()
    assert sum("refreshes no accounts' tokens" in line for line in scheduler.lines) == 1
    ready = next(line for line in scheduler.lines if "the scheduler is ready" in line)
    assert {"due_posts", "stuck_posts", "posts_upkeep", "posts_retention"} <= set(ready.replace(",", " ").split())
    assert "token_refreshes" not in ready


def test_with_keys_it_refreshes_and_with_keys_that_are_none_it_does_not_start(
    start: Start, connection: Connection
) -> None:
    # Nothing listens there: the account is asked for, in vain, and stays as it is.
    account = new_account(connection, due_at=ago(minutes=1))
    scheduler = start(PENSTOCK_TOKEN_KEYS=f"k1:{KEY}", PENSTOCK_INSTAGRAM_URL="http://127.0.0.1:9")
    wait_for(lambda: scheduler.told(f"no new tokens for the account {account}"), "a try to refresh")
    refused = start(PENSTOCK_TOKEN_KEYS="k1:short")
    assert refused.process.wait(60) == 1
    wait_for(lambda: refused.told("CONFIG_INVALID"), "the error")
    assert not refused.told("short")


def test_zero_days_keep_posts_for_ever(start: Start) -> None:
    scheduler = start(PENSTOCK_POSTS_RETENTION_DAYS="0").wait_until_ready()
    assert not scheduler.told("posts_retention")
