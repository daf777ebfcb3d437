"""What people decide of posts, also at the instant at which they are published."""

import random
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from penstock.producers.storage.posts_changes import (
    ChangedPost,
    approve,
    cancel,
    reschedule,
    settle_as_live,
    settle_by_publishing_again,
)
from penstock.schemas.errors import Code, ConflictError, NotFoundError, PenstockError
from penstock.workers.posts.claims import claim_due
from penstock.workers.posts.publishing import Began, Superseded, begin_publish, mark_published, mark_unknown
from tests.posts_kit import TENANT, Connect, Connection, new_post, row_of

TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
MINUTE = timedelta(minutes=1)

#: How a post comes into a state, from `claimed` with version 2.
WAYS = {
    "claimed": "UPDATE penstock.scheduled_posts SET handle = 'h'",
    "publishing": "UPDATE penstock.scheduled_posts SET state = 'publishing', attempts = 1, attempt_ends_by = now()",
    "published": """UPDATE penstock.scheduled_posts
                       SET state = 'published', attempts = 1, external_id = 'x', published_at = now()""",
    "unknown_outcome": "UPDATE penstock.scheduled_posts SET state = 'unknown_outcome', attempts = 1",
    **{
        state: f"UPDATE penstock.scheduled_posts SET state = '{state}'"
        for state in ("scheduled", "held", "dead", "cancelled", "expired")
    },
}

CHANGES: dict[str, Callable[[Connection, uuid.UUID], ChangedPost]] = {
    "reschedule": lambda connection, post: reschedule(connection, TENANT, post, TOMORROW),
    "cancel": lambda connection, post: cancel(connection, TENANT, post),
    "approve": lambda connection, post: approve(connection, TENANT, post),
    "settle as live": lambda connection, post: settle_as_live(connection, TENANT, post, "ig-7"),
    "publish again": lambda connection, post: settle_by_publishing_again(connection, TENANT, post),
}
LATE, WRONG = "POST_TOO_LATE", "POST_STATE_INVALID"
#: What each change makes of a post of each state, in the order of `WAYS`.
TABLE = {
    "reschedule": ("scheduled", LATE, LATE, LATE, "scheduled", "scheduled", "scheduled", WRONG, "scheduled"),
    "cancel": ("cancelled", LATE, LATE, LATE, "cancelled", "cancelled", WRONG, "cancelled", WRONG),
    "approve": (WRONG, LATE, LATE, LATE, WRONG, "scheduled", WRONG, WRONG, WRONG),
    "settle as live": (WRONG, LATE, LATE, "published", WRONG, WRONG, WRONG, WRONG, WRONG),
    "publish again": (WRONG, LATE, LATE, "scheduled", WRONG, WRONG, WRONG, WRONG, WRONG),
}
CASES = [
    pytest.param(change, state, result, id=f"{change} {state}")
    for change, results in TABLE.items()
    for state, result in zip(WAYS, results, strict=True)
]


@pytest.fixture
def post(connection: Connection, account: uuid.UUID) -> uuid.UUID:
    """A claimed post of version 2."""
    made = new_post(connection, account)
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    return made


@pytest.mark.parametrize(("change", "state", "result"), CASES)
def test_what_can_be_decided_in_each_state(
    connection: Connection, post: uuid.UUID, change: str, state: str, result: str
) -> None:
    connection.execute(WAYS[state].encode())
    before = row_of(connection, post, "state, version, due_at")
    if result.isupper():
        with pytest.raises(ConflictError, match=result) as refused:
            CHANGES[change](connection, post)
        assert refused.value.details["state"] == state
        assert row_of(connection, post, "state, version, due_at") == before
        return
    changed = CHANGES[change](connection, post)
    assert (changed.state, row_of(connection, post)) == (result, result)
    repeated = state == result == "cancelled"
    assert changed.version == row_of(connection, post, "version") == (2 if repeated else 3)


def test_another_instant_leaves_nothing_of_what_was_prepared(connection: Connection, post: uuid.UUID) -> None:
    connection.execute(WAYS["claimed"].encode())
    assert reschedule(connection, TENANT, post, TOMORROW).due_at == TOMORROW
    columns = "due_at, handle, step, claimed_by, claimed_at, parked_at"
    assert row_of(connection, post, columns) == (TOMORROW, None, {}, None, None, None)


def test_an_approved_post_is_not_late_again(connection: Connection, account: uuid.UUID) -> None:
    post = new_post(connection, account, lateness_policy="hold", grace_seconds=60)
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))
    assert row_of(connection, post) == "held"
    approve(connection, TENANT, post)
    with connection.transaction():
        (moved,) = claim_due(connection, datetime.now(UTC)).moved
    assert (moved.post_id, moved.state) == (post, "claimed")


def test_another_version_than_the_one_that_was_seen_is_not_changed(connection: Connection, post: uuid.UUID) -> None:
    with pytest.raises(ConflictError, match="POST_CHANGED"):
        reschedule(connection, TENANT, post, TOMORROW, expected=1)
    with pytest.raises(ConflictError, match="POST_CHANGED"):
        cancel(connection, TENANT, post, expected=3)
    assert reschedule(connection, TENANT, post, TOMORROW, expected=2).version == 3


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_post_of_nobody_is_not_found(
    connection: Connection, change: Callable[[Connection, uuid.UUID], ChangedPost]
) -> None:
    with pytest.raises(NotFoundError, match="POST_NOT_FOUND"):
        change(connection, uuid.uuid4())


def test_a_post_of_another_tenant_is_not_found(connection: Connection, post: uuid.UUID) -> None:
    with pytest.raises(NotFoundError, match="POST_NOT_FOUND"):
        cancel(connection, "another", post)
    assert row_of(connection, post) == "claimed"


def test_settled_as_live_it_has_the_id_that_was_found(connection: Connection, post: uuid.UUID) -> None:
    begin_publish(connection, post, 2, None, MINUTE)
    mark_unknown(connection, post, 1, Code.POST_UNKNOWN_OUTCOME)
    settle_as_live(connection, TENANT, post, "ig-7", url="https://example.org/p/7")
    assert row_of(connection, post, "external_id, url, published_at IS NULL") == (
        *("ig-7", "https://example.org/p/7", False),
    )


class Waiting:
    """Runs something in a thread, on a connection that has to wait for another one's lock."""

    def __init__(
        self, pool: ThreadPoolExecutor, watching: Connection, own: Connection, work: Callable[[], Any]
    ) -> None:
        def run() -> Any:
            try:
                return work()
            finally:
                own.commit()

        self.future: Future[Any] = pool.submit(run)
        waits = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
        while not watching.execute(waits, (own.info.backend_pid,)).fetchone():
            assert not self.future.done()


@pytest.mark.parametrize("change", ["reschedule", "cancel"])
def test_who_comes_while_it_begins_to_be_published_is_too_late(
    connect: Connect, connection: Connection, post: uuid.UUID, change: str
) -> None:
    publisher, person = connect(), connect()
    assert begin_publish(publisher, post, 2, None, MINUTE) == Began(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = Waiting(pool, connection, person, lambda: CHANGES[change](person, post))
        publisher.commit()
        with pytest.raises(ConflictError, match="POST_TOO_LATE"):
            waiting.future.result(30)
    assert mark_published(connection, post, "ig-7") == "now"


@pytest.mark.parametrize("change", ["reschedule", "cancel"])
def test_a_publisher_who_comes_while_it_is_changed_does_nothing(
    connect: Connect, connection: Connection, post: uuid.UUID, change: str
) -> None:
    publisher, person = connect(), connect()
    state = CHANGES[change](person, post).state
    with ThreadPoolExecutor(1) as pool:
        waiting = Waiting(pool, connection, publisher, lambda: begin_publish(publisher, post, 2, None, MINUTE))
        person.commit()
        assert waiting.future.result(30) == Superseded(state)
    assert row_of(connection, post, "attempts") == 0


def test_of_many_posts_each_is_either_published_or_cancelled(
    connect: Connect, connection: Connection, account: uuid.UUID
) -> None:
    posts = [new_post(connection, account) for _ in range(80)]
    with connection.transaction():
        claim_due(connection, datetime.now(UTC))

    def publish(own: Connection) -> set[uuid.UUID]:
        return {
            post for post in shuffled(posts, 1) if isinstance(commit(own, begin_publish, post, 2, None, MINUTE), Began)
        }

    def cancel_all(own: Connection) -> set[uuid.UUID]:
        return {post for post in shuffled(posts, 2) if isinstance(commit(own, cancel_or_error, post), ChangedPost)}

    with ThreadPoolExecutor(2) as pool:
        begun, cancelled = pool.submit(publish, connect()), pool.submit(cancel_all, connect())
    assert begun.result() | cancelled.result() == set(posts)
    assert begun.result() & cancelled.result() == set()
    assert begun.result()
    assert cancelled.result()


def shuffled(posts: list[uuid.UUID], seed: int) -> list[uuid.UUID]:
    return random.Random(seed).sample(posts, len(posts))


def commit(own: "psycopg.Connection[Any]", work: Callable[..., Any], *arguments: Any) -> Any:
    with own.transaction():
        return work(own, *arguments)


def cancel_or_error(own: Connection, post: uuid.UUID) -> ChangedPost | PenstockError:
    try:
        return cancel(own, TENANT, post)
    except PenstockError as error:
        return error
