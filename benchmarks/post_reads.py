"""A million posts: how long operators and Prometheus wait for lists, calendars, counts and one post.

The posts are made within PostgreSQL: 1,000 accounts of 20 tenants on four platforms, a year back and a year ahead, with
some thousands that wait for a person. Each query runs with other values each time, through the same code as the pages,
as the worker's role.

`python -m benchmarks.post_reads [--posts N] [--rounds N] [--json]`; takes up to 3 GB of disk while it runs.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from benchmarks.pickup import servers
from penstock.workers.accounts.account import AccountState
from penstock.workers.accounts.overview import AccountList, AccountsFilter, watch_accounts
from penstock.workers.database.pool import open_pool
from penstock.workers.posts.calendar import Bucket, PostCalendar
from penstock.workers.posts.filters import PostsFilter, Standing
from penstock.workers.posts.outcome import count_published
from penstock.workers.posts.search import PostSearch
from penstock.workers.posts.watch import watch_posts
from penstock.workers.settings import WorkerSettings

ACCOUNTS, TENANTS = 1_000, 20
PLATFORMS = ("instagram", "facebook", "youtube", "mastodon")

_ACCOUNTS = """
INSERT INTO penstock.social_accounts
       (account_id, tenant, owner, platform, external_id, name, token_ciphertext, key_id, state, state_code)
SELECT md5('account' || n)::uuid, 'tenant-' || n %% %(tenants)s, 'owner-' || n %% 50,
       (%(platforms)s::text[])[1 + n %% 4], 'external-' || n, 'Account ' || n, '', 'k',
       CASE WHEN n %% 50 = 0 THEN 'reauthorize' ELSE 'active' END,
       CASE WHEN n %% 50 = 0 THEN 'ACCOUNT_TOKEN_EXPIRED' END
  FROM generate_series(1, %(accounts)s) AS n
"""
# Of a thousand posts 4 are held, 8 dead, 3 expired, 10 cancelled, 1 is of unknown outcome, 2 are parked; the rest of
# those of the past are out, and those of the future wait.
_POSTS = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, state, due_at, grace, digest, attempts, published_at,
        claimed_by, parked_at)
SELECT gen_random_uuid(), a.tenant, a.owner, a.account_id, a.platform,
       jsonb_build_object('text', repeat('Herons at dusk. ', 12)), p.state, p.due_at, INTERVAL '1 hour', '', 1,
       CASE WHEN p.state = 'published' THEN p.due_at + random() * INTERVAL '2 s' END,
       gen_random_uuid(), CASE WHEN p.parked AND p.state = 'scheduled' THEN now() END
  FROM (
    SELECT md5('account' || 1 + floor(random() * %(accounts)s)::int)::uuid AS account_id,
           n %% 1000 IN (26, 27) AS parked,
           CASE WHEN n %% 1000 < 4 THEN 'held' WHEN n %% 1000 < 12 THEN 'dead' WHEN n %% 1000 < 15 THEN 'expired'
                WHEN n %% 1000 < 25 THEN 'cancelled' WHEN n %% 1000 < 26 THEN 'unknown_outcome'
                WHEN n %% 1000 < 28 AND ahead <= 0 THEN 'scheduled'
                WHEN ahead <= 0 THEN 'published' ELSE 'scheduled' END AS state,
           now() + INTERVAL '365 days' * CASE WHEN n %% 1000 < 30 THEN -abs(ahead) ELSE ahead END AS due_at
      FROM (SELECT n, random() * 2 - 1 AS ahead FROM generate_series(1, %(posts)s) AS n) AS drawn
  ) AS p JOIN penstock.social_accounts a USING (account_id)
"""


@dataclass(frozen=True, slots=True)
class Read:
    """One thing that is asked, and the milliseconds that it took each time."""

    name: str
    ask: Callable[[random.Random], object]


@contextmanager
def filled(posts: int) -> Iterator[WorkerSettings]:
    """Servers of the run's own with so many posts, as settings."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, servers(Path(folder)) as environment:
        with psycopg.connect(environment["ADMIN_URL"], autocommit=True) as connection:
            values = {"tenants": TENANTS, "platforms": list(PLATFORMS), "accounts": ACCOUNTS, "posts": posts}
            connection.execute("SET synchronous_commit = off")
            connection.execute(_ACCOUNTS, values)
            connection.execute(_POSTS, values)
            connection.execute("VACUUM ANALYZE")
        yield WorkerSettings.from_environment(environment | {"PENSTOCK_HOME": folder})


def reads(stack: ExitStack, settings: WorkerSettings) -> Iterator[Read]:
    """Everything that pages, the API and Prometheus ask of posts."""
    pool = stack.enter_context(open_pool(settings.model_copy(update={"pool_min": 1, "pool_max": 1}), "bench"))
    posts, calendar, accounts = PostSearch(pool), PostCalendar(pool), AccountList(pool)

    def listed(make: Callable[[random.Random], PostsFilter], **options: bool) -> Callable[[random.Random], object]:
        return lambda draw: posts.list(make(draw), **options)

    def with_connection(ask: Callable[[psycopg.Connection], object]) -> Callable[[random.Random], object]:
        def run(_: random.Random) -> object:
            with pool.connection() as connection:
                return ask(connection)

        return run

    def ids() -> list[UUID]:
        with pool.connection() as connection:
            rows = connection.execute("SELECT post_id FROM penstock.scheduled_posts LIMIT 10000").fetchall()
        return [row[0] for row in rows]

    known = ids()
    yield Read("list of all", listed(lambda draw: PostsFilter(due_after=_moment(draw))))
    yield Read(
        "list of all, latest first", listed(lambda draw: PostsFilter(due_before=_moment(draw)), latest_first=True)
    )
    for state in Standing:
        yield Read(f"list by state {state}", listed(lambda _, state=state: PostsFilter(state=state)))  # type: ignore[misc]
    yield Read("list by tenant", listed(lambda draw: PostsFilter(tenant=_tenant(draw), due_after=_moment(draw))))
    yield Read("list by tenant and owner", listed(lambda draw: PostsFilter(tenant=_tenant(draw), owner="owner-7")))
    yield Read("list by platform", listed(lambda draw: PostsFilter(platform=draw.choice(PLATFORMS))))
    yield Read(
        "list by platform and state",
        listed(lambda draw: PostsFilter(platform=draw.choice(PLATFORMS), state=draw.choice(list(Standing)))),
    )
    yield Read("list of a platform without posts", listed(lambda _: PostsFilter(platform="none")))
    yield Read("list of a tenant without posts", listed(lambda _: PostsFilter(tenant="none")))
    yield Read("one post", lambda draw: posts.show(draw.choice(known)))
    for bucket, days in ((Bucket.HOUR, 1), (Bucket.DAY, 7), (Bucket.DAY, 62)):
        yield Read(
            f"calendar of {days} days by {bucket}",
            lambda draw, bucket=bucket, days=days: calendar.count(  # type: ignore[misc]
                (at := _moment(draw)), at + timedelta(days=days), bucket
            ),
        )
    yield Read("watch of posts (metrics, health)", with_connection(watch_posts))
    yield Read("watch of accounts (metrics, health)", with_connection(watch_accounts))
    yield Read("list of accounts", lambda _: accounts.list(AccountsFilter()))
    yield Read("accounts to re-authorise", lambda _: accounts.list(AccountsFilter(state=AccountState.REAUTHORIZE)))
    yield Read("a minute's lateness", with_connection(lambda one: count_published(one, *_minute())))


def _moment(draw: random.Random) -> datetime:
    return datetime.now(UTC) + timedelta(days=draw.uniform(-360, 300))


def _tenant(draw: random.Random) -> str:
    return f"tenant-{draw.randrange(TENANTS)}"


def _minute() -> tuple[datetime, datetime]:
    end = datetime.now(UTC)
    return end - timedelta(minutes=1), end


def measure(read: Read, rounds: int) -> dict[str, float]:
    """Milliseconds of a read: p50, p95 and the longest."""
    draw = random.Random(20261121)  # noqa: S311  values to look for
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        read.ask(draw)
        taken.append((time.perf_counter() - began) * 1_000)
    taken.sort()
    return {
        "p50": round(statistics.median(taken), 1),
        "p95": round(taken[max(0, round(len(taken) * 0.95) - 1)], 1),
        "max": round(taken[-1], 1),
    }


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        settings = stack.enter_context(filled(options.posts))
        found = {read.name: measure(read, options.rounds) for read in reads(stack, settings)}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for name, figures in found.items():
        sys.stdout.write(
            f"{name:40} p50 {figures['p50']:8} ms   p95 {figures['p95']:8} ms   max {figures['max']:8} ms\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
