"""Among the posts of a year: what is due is claimed, and each list is read, by an index."""

import itertools
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.posts import PostFilter, listing
from penstock.schemas.scheduled_post import PostState
from penstock.workers.posts import claims
from penstock.workers.posts.claims import claim_due
from tests.posts_kit import TENANT, Connection, ago, new_account, new_post
from tests.system import Database

#: A million where tests run at full size.
MANY = 1_000_000 if os.environ.get("PENSTOCK_TEST_FULL") else 20_000
#: Those that are due within one minute.
DUE = 1_000
FILL = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, due_at, grace, digest)
SELECT gen_random_uuid(), 'acme', 'owner-' || n %% 50, %(account)s, 'instagram', '{"text": "Hello"}',
       now() + (n * INTERVAL '365 days' / %(many)s) + INTERVAL '1 hour', '1 hour', ''
  FROM generate_series(1, %(many)s) AS n
"""


@pytest.fixture(scope="module")
def year(database: Database) -> Iterator[Connection]:
    """A connection to a database with the posts of a year, all of one account."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(FILL.encode(), {"account": new_account(connection), "many": MANY})
        database.query("VACUUM ANALYZE penstock.scheduled_posts")
        yield connection


def plan_of(connection: Connection, statement: str, parameters: Any) -> tuple[Any, set[str], set[str]]:
    """The plan as it was run, its kinds of nodes, and the indexes that it uses."""
    explained = f"EXPLAIN (FORMAT json, ANALYZE, BUFFERS) {statement}".encode()
    row = connection.execute(explained, parameters).fetchone()
    assert row is not None
    nodes = list(walk(row[0][0]["Plan"]))
    indexes = {node["Index Name"] for node in nodes if "Index Name" in node}
    return row[0][0], {node["Node Type"] for node in nodes}, indexes


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return itertools.chain([node], *(walk(child) for child in node.get("Plans", ())))


def test_what_is_due_is_claimed_by_its_index(year: Connection) -> None:
    account = new_account(year)
    for number in range(DUE):
        new_post(year, account, ago(seconds=number % 60))
    with year.transaction(force_rollback=True):
        parameters = {"due_by": datetime.now(UTC), "limit": claims.CLAIM_LIMIT}
        told, nodes, indexes = plan_of(year, claims._LOCK, parameters)
    assert indexes == {"scheduled_posts_due_idx"}, told
    assert not nodes & {"Seq Scan", "Sort", "Bitmap Heap Scan"}, told
    sizes: list[int] = []
    times: list[float] = []
    while not sizes or sizes[-1]:
        began = time.perf_counter()
        with year.transaction():
            sizes.append(len(claim_due(year, datetime.now(UTC)).moved))
        times.append(time.perf_counter() - began)
    shown = ", ".join(f"{size} in {seconds * 1_000:.1f} ms" for size, seconds in zip(sizes, times, strict=True))
    print(f"among {MANY + DUE:,} posts claimed {shown}; the plan ran {told['Execution Time']:.2f} ms")
    assert sum(sizes) == DUE


def test_a_claim_that_was_planned_once_for_all_uses_it_too(year: Connection) -> None:
    """After some executions PostgreSQL may keep a plan that knows neither the instant nor the limit."""
    prepared = claims._LOCK.replace("%(due_by)s", "$1").replace("%(limit)s", "$2")
    with year.transaction(force_rollback=True):
        year.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        year.execute(f"PREPARE claim (timestamptz, bigint) AS {prepared}".encode())
        row = year.execute("EXPLAIN (FORMAT json) EXECUTE claim (now(), 200)").fetchone()
    assert row is not None
    nodes = list(walk(row[0][0]["Plan"]))
    assert [node.get("Index Name") for node in nodes if "Scan" in node["Node Type"]] == ["scheduled_posts_due_idx"]
    assert "Sort" not in {node["Node Type"] for node in nodes}


LISTS = {
    "all": (PostFilter(), "tenant"),
    "state": (PostFilter(state=PostState.HELD), "state"),
    "owner and state": (PostFilter(owner="owner-7", state=PostState.SCHEDULED), "owner"),
    "platform and state": (PostFilter(platform="mastodon", state=PostState.SCHEDULED), "platform"),
    "account and state": (PostFilter(account_id=uuid.uuid4(), state=PostState.SCHEDULED), "account"),
}


@pytest.mark.parametrize(("which", "index"), LISTS.values(), ids=LISTS)
def test_a_list_is_read_by_its_index(year: Connection, which: PostFilter, index: str) -> None:
    after = (datetime.now(UTC) + timedelta(days=30), uuid.uuid4())
    statement, parameters = listing(TENANT, which, after, 50)
    told, nodes, indexes = plan_of(year, statement, parameters)
    # The operators' index has a state's posts of all tenants in the same order, and is as good where most are of one.
    allowed = {f"scheduled_posts_{index}_idx", *(["scheduled_posts_watch_idx"] if which.state is not None else [])}
    assert len(indexes) == 1, told
    assert indexes <= allowed, told
    assert not nodes & {"Seq Scan", "Sort"}, told
