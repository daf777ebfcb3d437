"""What operators ask of posts, among 20,000 of three tenants: each answer is compared with a look at all of them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from penstock.schemas.errors import InvalidInputError, NotFoundError
from penstock.schemas.scheduled_post import PostState
from penstock.workers.database.pool import open_pool
from penstock.workers.posts.calendar import LONGEST, Bucket, PostCalendar
from penstock.workers.posts.filters import PostsFilter, Standing
from penstock.workers.posts.outcome import count_published
from penstock.workers.posts.search import PostSearch, _listing
from penstock.workers.posts.watch import _COUNTS, _LATE, _OVERDUE, CEILING, watch_posts
from penstock.workers.settings import WorkerSettings
from tests.many_posts import Stored, analyze, fill
from tests.posts_kit import Connect, Connection, ago, new_account, new_post
from tests.system import Database

Pool = ConnectionPool[psycopg.Connection[Any]]
Asked = Callable[[Stored], bool]
#: A read of the whole table.
WHOLE = "Seq Scan on scheduled_posts"


@pytest.fixture(scope="module")
def pool(settings: WorkerSettings) -> Iterator[Pool]:
    with open_pool(settings.model_copy(update={"pool_min": 1, "pool_max": 2}), "test") as made:
        yield made


@pytest.fixture(scope="module")
def many(database: Database) -> Iterator[list[Stored]]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        found = fill(connection)
    analyze(database.admin_url)
    yield found
    database.query("TRUNCATE penstock.scheduled_posts, penstock.social_accounts CASCADE")


def is_late(post: Stored) -> bool:
    is_open = post.state in {"scheduled", "claimed", "publishing"} and not post.parked
    return is_open and post.due_at < ago(minutes=1)


def standing(name: str) -> Asked:
    special: dict[str, Asked] = {
        "late": is_late,
        "parked": lambda post: post.parked,
        "waiting": lambda post: post.state == "scheduled" and not post.parked,
    }
    return special.get(name, lambda post: post.state == name)


def test_every_page_of_every_standing_is_what_a_look_at_all_finds(pool: Pool, many: list[Stored]) -> None:
    search = PostSearch(pool)
    for name in Standing:
        wanted = [post.post_id for post in many if standing(name)(post)]
        assert wanted, name
        chosen = PostsFilter(state=name)
        found = list(all_ids(search, chosen, 900, len(wanted) // 900 + 2))
        assert found == wanted, name
    latest = search.list(PostsFilter(), limit=100, latest_first=True)
    assert [post.post_id for post in latest.items] == [post.post_id for post in many[-100:]][::-1]


def all_ids(search: PostSearch, chosen: PostsFilter, limit: int, pages: int) -> Iterator[Any]:
    cursor = None
    for _ in range(pages):
        page = search.list(chosen, limit=limit, cursor=cursor)
        yield from (post.post_id for post in page.items)
        cursor = page.next
        if cursor is None:
            return
    raise AssertionError("too many pages")


FILTERS: dict[str, Callable[[Stored], PostsFilter]] = {
    "tenant": lambda post: PostsFilter(tenant=post.tenant),
    "platform": lambda post: PostsFilter(platform=post.platform),
    "account": lambda post: PostsFilter(account=post.account_id),
    "owner of a tenant": lambda post: PostsFilter(tenant=post.tenant, owner=post.owner),
    "state of a platform": lambda post: PostsFilter(platform=post.platform, state=Standing.HELD),
    "a day": lambda post: PostsFilter(due_after=post.due_at, due_before=post.due_at + timedelta(days=1)),
    "nothing": lambda _: PostsFilter(tenant="nobody"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_find_what_they_say(pool: Pool, many: list[Stored], name: str) -> None:
    chosen = FILTERS[name](many[len(many) // 2])
    wanted = [post for post in many if meets(post, chosen)]
    found = PostSearch(pool).list(chosen, limit=200).items
    assert [post.post_id for post in found] == [post.post_id for post in wanted[:200]]
    assert bool(wanted) == (name != "nothing")


def meets(post: Stored, chosen: PostsFilter) -> bool:
    equal = (("tenant", "tenant"), ("platform", "platform"), ("owner", "owner"), ("account", "account_id"))
    if any(getattr(chosen, of) not in (None, getattr(post, column)) for of, column in equal):
        return False
    if chosen.state is not None and not standing(chosen.state)(post):
        return False
    begins, ends = chosen.due_after, chosen.due_before
    return (begins is None or post.due_at >= begins) and (ends is None or post.due_at < ends)


@pytest.mark.parametrize("state", [None, *Standing])
def test_a_list_walks_indexes(database: Database, many: list[Stored], state: Standing | None) -> None:
    assert many
    chosen = PostsFilter(state=state)
    values = chosen.parameters() | {"rows": 51}
    assert not whole_reads(plan(database, _listing(chosen, latest_first=False, behind_cursor=False), values))


@pytest.mark.parametrize("statement", [_COUNTS, _LATE, _OVERDUE], ids=["counts", "late", "overdue"])
def test_what_prometheus_asks_walks_indexes(database: Database, many: list[Stored], statement: str) -> None:
    assert many
    assert not whole_reads(plan(database, statement, {"ceiling": CEILING}))


def whole_reads(told: str) -> list[str]:
    return [line for line in told.splitlines() if WHOLE in line]


def plan(database: Database, statement: str, values: dict[str, Any]) -> str:
    with psycopg.connect(database.url) as connection:
        rows = connection.execute(f"EXPLAIN {statement}".encode(), values).fetchall()
    return "\n".join(row[0] for row in rows)


def test_the_calendar_counts_by_hour_and_day(pool: Pool, many: list[Stored]) -> None:
    calendar = PostCalendar(pool)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    for bucket, width in ((Bucket.HOUR, timedelta(hours=1)), (Bucket.DAY, timedelta(days=1))):
        span = LONGEST[bucket] if bucket is Bucket.HOUR else timedelta(days=20)
        found = calendar.count(start, start + span, bucket)
        within = [post for post in many if start <= post.due_at < start + span]
        assert sum(one.count for one in found) == len(within) > 0
        assert {one.state for one in found} == {post.state for post in within}
        assert len({(one.at, one.state, one.platform) for one in found}) == len(found)
        first = found[0]
        same = [post for post in within if (post.state, post.platform) == (first.state, first.platform)]
        assert first.count == len([post for post in same if first.at <= post.due_at < first.at + width])
        assert first.at.minute == 0
    of_one = calendar.count(start, start + span, Bucket.DAY, tenant="tenant-1", platform="youtube")
    wanted = [post for post in within if (post.tenant, post.platform) == ("tenant-1", "youtube")]
    assert sum(one.count for one in of_one) == len(wanted) > 0


@pytest.mark.parametrize("days", [-1.0, 0.0, 9.0])
def test_a_calendar_has_bounds(pool: Pool, days: float) -> None:
    start = datetime.now(UTC)
    with pytest.raises(InvalidInputError):
        PostCalendar(pool).count(start, start + timedelta(days=days), Bucket.HOUR)


def test_what_is_not_out_is_counted_by_state_and_platform(pool: Pool, many: list[Stored]) -> None:
    with pool.connection() as connection:
        found = watch_posts(connection)
    for state in ("held", "claimed", "publishing", "unknown_outcome", "parked"):
        of_state = [post for post in many if standing(state)(post)]
        assert found.total(state) == len(of_state) > 0
        platforms = {post.platform for post in of_state}
        assert {platform for name, platform in found.counts if name == state} == platforms
    due = [post for post in many if standing("waiting")(post) and post.due_at <= ago()]
    late = [post for post in many if is_late(post)]
    assert (found.total("due"), found.late) == (len(due), len(late))
    assert found.overdue >= datetime.now(UTC) - late[0].due_at - timedelta(seconds=5)
    assert found.unclaimed >= datetime.now(UTC) - due[0].due_at - timedelta(seconds=5)


def test_counts_end_at_a_ceiling(pool: Pool, many: list[Stored], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len([post for post in many if post.state == "held"]) > 10
    monkeypatch.setattr("penstock.workers.posts.watch.CEILING", 10)
    with pool.connection() as connection:
        found = watch_posts(connection)
    assert (found.total("held"), found.late) == (10, 10)


def test_what_went_out_is_counted_with_its_lateness(connect: Connect, pool: Pool) -> None:
    connection = connect()
    account = new_account(connection)
    begins = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for late in range(1, 101):
        post = new_post(connection, account, begins)
        connection.execute(
            "UPDATE penstock.scheduled_posts SET state = 'published', published_at = %s WHERE post_id = %s",
            (begins + timedelta(seconds=late / 10), post),
        )
    with_all = count_published(connection, begins, begins + timedelta(minutes=1))
    assert (with_all.count, with_all.late_p95, with_all.late_max) == (100, 9.5, 10.0)
    nothing = count_published(connection, begins - timedelta(minutes=1), begins)
    assert (nothing.count, nothing.late_p95, nothing.late_max) == (0, None, None)
    # Nothing of it is committed.
    connection.rollback()


def test_one_post_is_shown_with_its_account_and_calls(connection: Connection, pool: Pool) -> None:
    account = new_account(connection)
    post = new_post(connection, account)
    connection.execute(
        "INSERT INTO penstock.publish_attempts (at, attempt_id, post_id, tenant, account_id, platform, attempt, phase,"
        " request, answer_class, code, platform_code, trace_id, detail, seconds, worker, release)"
        " SELECT now() - n * INTERVAL '1 s', gen_random_uuid(), %s, 'acme', %s, 'instagram', 1, 'publish', '{}', 'ok',"
        " NULL, NULL, 'trace', NULL, 0.4, 'w', 'r' FROM generate_series(1, 150) AS n",
        (post, account),
    )
    found = PostSearch(pool).show(post)
    assert (found.post.post_id, found.account_name, found.account_state) == (post, "The press office", "active")
    assert (len(found.attempts), found.attempts[0].at > found.attempts[-1].at) == (100, True)
    assert PostSearch(pool).tenant_of(post) == "acme"
    for ask in (PostSearch(pool).show, PostSearch(pool).tenant_of):
        with pytest.raises(NotFoundError):
            ask(uuid4())


@pytest.mark.parametrize(
    "query",
    [
        {"state": "odd"},
        {"account": "none"},
        {"due_after": "soon"},
        {"due_after": "2026-11-21T10:00:00"},
        {"due_before": "0001-01-01T00:00:00+14:00"},
        {"tenant": "x\0"},
        {"owner": "\ud800"},
        {"platform": "x" * 501},
        {"colour": "x"},
    ],
)
def test_what_is_no_filter_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        PostsFilter.parse(query)
    assert refused.value.details["parameter"] in query


def test_a_filter_and_its_address_are_the_same() -> None:
    query = {"state": "late", "owner": "press", "account": str(uuid4()), "due_after": "2026-11-21T10:00:00Z"}
    chosen = PostsFilter.parse(query | {"platform": "", "due_before": "2026-11-22"})
    assert dict(chosen.as_query()) == query | {"due_before": "2026-11-22T00:00:00Z"}
    assert PostsFilter.parse(dict(chosen.as_query())) == chosen
    assert PostsFilter.parse({"due_after": "2026-11-21T12:00:00 02:00"}).due_after == datetime(
        2026, 11, 21, 10, tzinfo=UTC
    )
    # An owner is a name within a tenant.
    assert chosen.parameters()["tenant"] == "default"


def test_each_state_is_a_standing() -> None:
    assert set(PostState) < set(Standing)
