"""What people decide of posts: reschedule, cancel, approve, settle. Each is one UPDATE with a guard.

The guard and the publisher's own (`workers.posts.publishing`) are on the same row, so one of the two comes first, and
the other finds the state that it left: either nothing is published, or the caller is told that it is too late.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from penstock.schemas.errors import Code, ConflictError, NotFoundError, PenstockError
from penstock.schemas.scheduled_post import PostState

#: The visible step was begun, so it may be there or come any moment.
TOO_LATE = (PostState.PUBLISHING, PostState.PUBLISHED, PostState.UNKNOWN_OUTCOME)

# What was prepared may not fit any more, and is not visible: it is left to end by itself. A new version leaves the job
# that may be on its way without anything to do.
_ANEW = """
    version = version + 1, claimed_by = NULL, claimed_at = NULL, parked_at = NULL, handle = NULL, step = '{}',
    armed_at = NULL, last_code = NULL, updated_at = now()
"""
_GUARDED = """
UPDATE penstock.scheduled_posts SET {change}
 WHERE tenant = %(tenant)s AND post_id = %(post_id)s AND state = ANY(%(states)s)
   AND (%(expected)s::integer IS NULL OR version = %(expected)s)
RETURNING state, version, due_at
"""
_RESCHEDULE = _GUARDED.format(change=f"state = 'scheduled', due_at = coalesce(%(due_at)s, now()), {_ANEW}")
_CANCEL = _GUARDED.format(change=f"state = 'cancelled', {_ANEW}")
_SETTLE_LIVE = _GUARDED.format(
    change="state = 'published', version = version + 1, external_id = %(external_id)s, url = %(url)s,"
    " published_at = coalesce(%(published_at)s, attempt_began_at, now()), last_code = NULL, updated_at = now()"
)

_LOCK = """
SELECT state, version, due_at, claimed_by AS job_id FROM penstock.scheduled_posts
 WHERE tenant = %s AND post_id = %s FOR UPDATE
"""

#: A post may change between the statement that did not find it in the right state and the one that asks for its state.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class ChangedPost:
    """How a post stands after the change."""

    post_id: UUID
    state: str
    version: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class PostStanding:
    """How a post stood before it was decided on. `job_id`: of its latest claim, None where that is over."""

    state: str
    version: int
    due_at: datetime
    job_id: UUID | None


def lock_post(connection: psycopg.Connection[Any], tenant: str, post_id: UUID) -> PostStanding | None:
    """Lock a post for the rest of the transaction, to decide on what it is; None where there is none."""
    with connection.cursor(row_factory=class_row(PostStanding)) as cursor:
        return cursor.execute(_LOCK, (tenant, post_id)).fetchone()


def reschedule(
    connection: psycopg.Connection[Any], tenant: str, post_id: UUID, due_at: datetime, *, expected: int | None = None
) -> ChangedPost:
    """Give a post another instant; one that has expired, is held or is dead gets a new life by it.

    Args:
        connection: within the caller's transaction.
        tenant: whose post it is.
        post_id: which post.
        due_at: the new instant (aware); at once where it has passed.
        expected: the version that the caller has seen; None to change whatever is there.

    Raises:
        NotFoundError: `POST_NOT_FOUND`.
        ConflictError: `POST_TOO_LATE` where it is being published or was, `POST_CHANGED` where its version is another,
            `POST_STATE_INVALID` where it was cancelled.
    """
    states = (PostState.SCHEDULED, PostState.HELD, PostState.CLAIMED, PostState.EXPIRED, PostState.DEAD)
    return _change(connection, _RESCHEDULE, states, tenant, post_id, {"expected": expected, "due_at": due_at})


def cancel(
    connection: psycopg.Connection[Any], tenant: str, post_id: UUID, *, expected: int | None = None
) -> ChangedPost:
    """See that a post is not published. One that was cancelled before stays so, and that is no error.

    Raises:
        NotFoundError, ConflictError: as `reschedule`; `POST_STATE_INVALID` where it has expired or is dead.
    """
    states = (PostState.SCHEDULED, PostState.HELD, PostState.CLAIMED)
    try:
        return _change(connection, _CANCEL, states, tenant, post_id, {"expected": expected})
    except ConflictError:
        row = _look(connection, tenant, post_id)
        if row is None or row[0] != PostState.CANCELLED:
            raise
        return ChangedPost(post_id, *row)


def approve(
    connection: psycopg.Connection[Any],
    tenant: str,
    post_id: UUID,
    *,
    due_at: datetime | None = None,
    expected: int | None = None,
) -> ChangedPost:
    """Let a held post go, at an instant or at once. How late it is counts from there.

    Raises:
        NotFoundError, ConflictError: as `reschedule`; `POST_STATE_INVALID` where it is not held.
    """
    return _change(
        connection, _RESCHEDULE, (PostState.HELD,), tenant, post_id, {"expected": expected, "due_at": due_at}
    )


def settle_as_live(
    connection: psycopg.Connection[Any],
    tenant: str,
    post_id: UUID,
    external_id: str,
    *,
    url: str | None = None,
    published_at: datetime | None = None,
) -> ChangedPost:
    """Note that a post of unknown outcome is live, under the platform's id that an operator found.

    Raises:
        NotFoundError: `POST_NOT_FOUND`.
        ConflictError: `POST_STATE_INVALID` or `POST_TOO_LATE` where its outcome is not unknown.
    """
    found = {"expected": None, "external_id": external_id, "url": url, "published_at": published_at}
    return _change(connection, _SETTLE_LIVE, (PostState.UNKNOWN_OUTCOME,), tenant, post_id, found)


def settle_by_publishing_again(connection: psycopg.Connection[Any], tenant: str, post_id: UUID) -> ChangedPost:
    """Have a post of unknown outcome published once more, at once, since an operator saw that it is not live.

    Raises:
        NotFoundError, ConflictError: as `settle_as_live`.
    """
    states = (PostState.UNKNOWN_OUTCOME,)
    return _change(connection, _RESCHEDULE, states, tenant, post_id, {"expected": None, "due_at": None})


def _change(
    connection: psycopg.Connection[Any],
    statement: str,
    states: Collection[PostState],
    tenant: str,
    post_id: UUID,
    values: Mapping[str, Any],
) -> ChangedPost:
    parameters = {"tenant": tenant, "post_id": post_id, "states": [str(state) for state in states], **values}
    for _ in range(_TRIES):
        row = connection.execute(statement.encode(), parameters).fetchone()
        if row is not None:
            return ChangedPost(post_id, *row)
        found = _look(connection, tenant, post_id)
        if found is None:
            raise NotFoundError(Code.POST_NOT_FOUND, f"there is no post {post_id}")
        state, version, _due_at = found
        if state not in states or values["expected"] not in (None, version):
            break
    raise _refusal(post_id, PostState(state), version, states, values["expected"])


def _look(connection: psycopg.Connection[Any], tenant: str, post_id: UUID) -> tuple[str, int, datetime] | None:
    return connection.execute(
        "SELECT state, version, due_at FROM penstock.scheduled_posts WHERE tenant = %s AND post_id = %s",
        (tenant, post_id),
    ).fetchone()


def _refusal(
    post_id: UUID, state: PostState, version: int, states: Collection[PostState], expected: int | None
) -> PenstockError:
    details = {"state": str(state), "version": version}
    if state in TOO_LATE and state not in states:
        return ConflictError(Code.POST_TOO_LATE, f"too late: the post {post_id} is {state}", details=details)
    if state not in states:
        return ConflictError(Code.POST_STATE_INVALID, f"the post {post_id} is {state}", details=details)
    told = f"the post {post_id} has the version {version}" + ("" if expected is None else f", and not {expected}")
    return ConflictError(Code.POST_CHANGED, told, details=details)
