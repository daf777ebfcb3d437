"""The loop for due posts: ahead of their instants, as soon as one is near, each once, and at no cost while none is."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.posts_changes import cancel, reschedule
from penstock.producers.storage.posts_parked import release_parked
from penstock.schemas.errors import Code
from penstock.schemas.identity import job_id
from penstock.schemas.scheduled_post import LatenessPolicy
from penstock.workers.accounts.store import require_reauthorisation
from penstock.workers.database.transaction import Transactions
from penstock.workers.posts import claims
from penstock.workers.posts.claims import CHANNEL
from penstock.workers.scheduler.due_posts import LONGEST, SHORTEST, SHORTEST_AHEAD, DuePosts
from penstock.workers.scheduler.runner import Runner
from penstock.workers.telemetry.metrics import POSTS_CLAIMED
from tests.posts_kit import TENANT, Connection, ago, new_account, new_post, row_of
from tests.system import Database, wait_for
from tests.workers.scheduler.conftest import Outbox

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
LEAD = timedelta(seconds=30)
MANY = 200_000
FILL = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, due_at, grace, digest, parked_at)
SELECT gen_random_uuid(), 'acme', 'press', %(account)s, 'instagram', '{"text": "Hello"}',
       %(begin)s + n * %(step)s, '1 hour', '', %(parked)s
  FROM generate_series(1, %(many)s) AS n
"""


def fill(
    connection: Connection,
    account: uuid.UUID,
    many: int,
    begin: datetime,
    step: timedelta = timedelta(),
    parked: datetime | None = None,
) -> None:
    parameters = {"account": account, "many": many, "begin": begin, "step": step, "parked": parked}
    connection.execute(FILL.encode(), parameters)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def loop(transactions: Transactions) -> DuePosts:
    """With a lead of 30 s, at an instant that stands still."""
    return DuePosts(transactions, LEAD, lambda: NOW)


def counted(became: str) -> float:
    return POSTS_CLAIMED.labels(became)._value.get()


def states(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT state, count(*) FROM penstock.scheduled_posts GROUP BY state").fetchall())


def test_a_post_is_claimed_ahead_of_its_instant_and_the_next_one_is_slept_for(
    loop: DuePosts, connection: Connection, account: uuid.UUID
) -> None:
    near, next_, far = (new_post(connection, account, at(seconds)) for seconds in (29, 31.5, 3_600))
    before = counted("claimed")
    assert loop.run_once() is False
    assert [row_of(connection, post) for post in (near, next_, far)] == ["claimed", "scheduled", "scheduled"]
    assert counted("claimed") == before + 1
    assert loop.interval == timedelta(seconds=1.5)


def test_how_long_it_sleeps(transactions: Transactions, connection: Connection, account: uuid.UUID) -> None:
    ahead, prompt = (DuePosts(transactions, lead, lambda: NOW) for lead in (LEAD, timedelta()))
    assert (ahead.run_once(), ahead.interval) == (False, LONGEST)
    new_post(connection, account, at(30.001))
    assert (ahead.run_once(), ahead.interval) == (False, SHORTEST_AHEAD)
    # The lead of the one is far off for the other.
    assert (prompt.run_once(), prompt.interval) == (False, LONGEST)
    new_post(connection, account, at(0.001))
    assert (prompt.run_once(), prompt.interval) == (False, SHORTEST)


def test_lateness_is_judged_by_the_real_now(loop: DuePosts, connection: Connection, account: uuid.UUID) -> None:
    strict = {"lateness_policy": LatenessPolicy.EXPIRE, "grace_seconds": 0}
    ahead, late = new_post(connection, account, at(10), **strict), new_post(connection, account, at(-10), **strict)
    loop.run_once()
    assert (row_of(connection, ahead), row_of(connection, late)) == ("claimed", "expired")


def test_what_is_late_or_waits_for_its_account_is_counted_and_told(
    loop: DuePosts, connection: Connection, account: uuid.UUID, caplog: pytest.LogCaptureFixture
) -> None:
    for policy in (LatenessPolicy.EXPIRE, LatenessPolicy.HOLD):
        new_post(connection, account, at(-7_200), lateness_policy=policy)
    closed = new_account(connection)
    require_reauthorisation(connection, closed, 1, Code.ACCOUNT_TOKEN_EXPIRED)
    new_post(connection, closed, at(0))
    before = {became: counted(became) for became in ("expired", "held", "parked", "claimed")}
    with caplog.at_level("INFO"):
        loop.run_once()
    assert {became: counted(became) - before[became] for became in before} == {
        "expired": 1,
        "held": 1,
        "parked": 1,
        "claimed": 0,
    }
    assert "2 post(s) came too late: 1 expired, 1 held" in caplog.text
    assert "1 post(s) that came due wait for their accounts" in caplog.text


def test_a_claimed_post_may_be_decided_on_until_its_instant(
    loop: DuePosts, connection: Connection, account: uuid.UUID
) -> None:
    moved, dropped = new_post(connection, account, at(20)), new_post(connection, account, at(20))
    loop.run_once()
    reschedule(connection, TENANT, moved, at(25))
    cancel(connection, TENANT, dropped)
    loop.run_once()
    # Claimed anew, by another job: the first one finds another version, and has nothing to do.
    job = job_id(TENANT, "scheduled_post.publish", f"{moved}.4")
    assert row_of(connection, moved, "state, version, claimed_by") == ("claimed", 4, job)
    assert row_of(connection, dropped) == "cancelled"
    reschedule(connection, TENANT, moved, at(3_600))
    loop.run_once()
    assert row_of(connection, moved) == "scheduled"


@pytest.fixture
def heard(database: Database) -> Iterator[Callable[[], int]]:
    """Tells how many notices came since it was asked last."""
    with psycopg.connect(database.url, autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}".encode())

        def count() -> int:
            # What was sent before this query's answer has arrived with it.
            listening.execute("SELECT 1")
            return len(list(listening.notifies(timeout=0)))

        yield count


def test_whoever_puts_a_near_post_there_is_heard(
    connection: Connection, account: uuid.UUID, heard: Callable[[], int]
) -> None:
    far = new_post(connection, account, ago(hours=-2))
    assert heard() == 0
    near = new_post(connection, account, ago(seconds=-30))
    assert heard() == 1
    reschedule(connection, TENANT, near, ago(hours=-3))
    assert heard() == 0
    reschedule(connection, TENANT, far, ago(seconds=-2))
    assert heard() == 1
    with connection.transaction():
        claims.claim_due(connection, datetime.now(UTC), lead=LEAD)
    assert (heard(), row_of(connection, far)) == (0, "claimed")


def test_posts_that_are_released_are_heard_of(
    connection: Connection, account: uuid.UUID, heard: Callable[[], int]
) -> None:
    fill(connection, account, 10, ago(hours=1), parked=ago(minutes=1))
    assert heard() == 0
    assert release_parked(connection, account) == 10
    assert heard() == 1


@pytest.mark.parametrize("hours", [-1, 24 * 300], ids=["due", "far"])
def test_ten_thousand_posts_in_a_transaction_are_one_notice_or_none(
    connection: Connection, account: uuid.UUID, heard: Callable[[], int], hours: int
) -> None:
    fill(connection, account, 10_000, ago(hours=-hours))
    assert heard() == (1 if hours < 0 else 0)


def test_a_post_that_is_stored_while_the_loop_sleeps_wakes_it(
    database: Database, transactions: Transactions, connection: Connection, account: uuid.UUID
) -> None:
    class Sleepy(DuePosts):
        interval = property(lambda _: timedelta(hours=1))

    runner = Runner([Sleepy(transactions, timedelta())], database.url)
    runner.start()
    try:
        assert runner.listener.listening.wait(30)
        post = new_post(connection, account)
        wait_for(lambda: row_of(connection, post) == "claimed", "the claim")
    finally:
        runner.stop()


def test_an_idle_round_is_two_statements(
    loop: DuePosts, connection: Connection, account: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_post(connection, account, at(3_600))
    seen: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        seen.append(text.split(maxsplit=1)[0].strip(";"))
        return execute(self, query, *arguments, **named)

    monkeypatch.setattr(psycopg.Cursor, "execute", noting)
    loop.run_once()
    assert seen == ["BEGIN", "SELECT", "SELECT", "COMMIT"]


def test_two_that_claim_at_once_share_two_thousand_posts_and_neither_starves(
    transactions: Transactions, connection: Connection, account: uuid.UUID
) -> None:
    fill(connection, account, 2_000, at(-60), timedelta(milliseconds=1))
    claimed: list[list[int]] = []

    def claim(_: int) -> int:
        loop, rounds = DuePosts(transactions, LEAD, lambda: NOW), 0
        claimed.append([])
        while states(connection).get("scheduled"):
            before = counted("claimed")
            loop.run_once()
            rounds += counted("claimed") > before
        return rounds

    with ThreadPoolExecutor(2) as pool:
        rounds = list(pool.map(claim, range(2)))
    assert min(rounds) >= 2
    assert states(connection) == {"claimed": 2_000}
    outbox = connection.execute("SELECT count(*), count(DISTINCT job_id) FROM penstock.outbox").fetchone()
    assert outbox == (2_000, 2_000)


def plan(connection: Connection, statement: str, **parameters: object) -> tuple[set[str], set[str], int]:
    """Indexes and kinds of nodes of a plan as it ran, and the blocks that it touched."""
    row = connection.execute(f"EXPLAIN (FORMAT json, ANALYZE, BUFFERS) {statement}".encode(), parameters).fetchone()
    assert row is not None
    root = row[0][0]["Plan"]
    nodes = list(walk(root))
    indexes = {node["Index Name"] for node in nodes if "Index Name" in node}
    return indexes, {node["Node Type"] for node in nodes}, root["Shared Hit Blocks"] + root["Shared Read Blocks"]


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


def test_among_many_posts_a_look_and_a_claim_go_by_the_index_and_past_parked_ones(
    database: Database, connection: Connection, account: uuid.UUID
) -> None:
    fill(connection, account, MANY, at(3_600), timedelta(seconds=100))
    # They would all stand before those that can go.
    fill(connection, account, 20_000, at(-3_600), parked=at(-60))
    fill(connection, account, 1_000, at(-60), timedelta(milliseconds=50))
    database.query("VACUUM ANALYZE penstock.scheduled_posts")
    indexes, nodes, blocks = plan(connection, claims._NEXT)
    assert (indexes, "Seq Scan" in nodes) == ({"scheduled_posts_due_idx"}, False)
    assert blocks < 20
    with connection.transaction(force_rollback=True):
        indexes, nodes, blocks = plan(connection, claims._LOCK, due_by=NOW, limit=200)
    assert (indexes, nodes & {"Seq Scan", "Sort"}) == ({"scheduled_posts_due_idx"}, set())
    # Those 200, each with a page of its own in the worst case, and a lock on each.
    assert blocks < 1_500


def test_a_full_round_is_followed_by_the_next_one(loop: DuePosts, connection: Connection, account: uuid.UUID) -> None:
    fill(connection, account, claims.CLAIM_LIMIT + 1, at(0))
    assert [loop.run_once(), loop.run_once()] == [True, False]
    assert states(connection) == {"claimed": claims.CLAIM_LIMIT + 1}


def test_what_is_claimed_reaches_its_queue(
    loop: DuePosts, connection: Connection, account: uuid.UUID, outbox: Outbox
) -> None:
    post = new_post(connection, account, at(0))
    loop.run_once()
    (payload,) = outbox.database.query("SELECT payload FROM penstock.outbox")[0]
    assert json.loads(bytes(payload))["post_id"] == str(post)
    assert outbox.database.query("SELECT queue, kind FROM penstock.outbox") == [
        ("publishing", "scheduled_post.publish")
    ]
