"""Claiming posts that are due, or soon will be: each claim and its job are one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from penstock.producers.storage.outbox import JobToEnqueue, enqueue_many_in_transaction
from penstock.schemas.errors import Code
from penstock.schemas.identity import job_id
from penstock.schemas.scheduled_post import LatenessPolicy, PostState, PublishPost, publish_key
from penstock.workers.accounts.store import inactive_among

#: Posts of one claim, at the most.
CLAIM_LIMIT = 200
#: What is told to whoever listens, when a post waits whose instant is near (migration 0014).
CHANNEL = "penstock_posts"

# As a list of one, a state gives no order to an index that begins with it: such an index holds parked posts too, and to
# walk past thousands of them would look as cheap to the planner as the index of what may be claimed.
_WAITS = "state = ANY('{scheduled}') AND parked_at IS NULL"
_LOCK = f"""
SELECT post_id, tenant, account_id, platform, due_at, lateness_policy, grace, version
  FROM penstock.scheduled_posts
 WHERE {_WAITS} AND due_at <= %(due_by)s
 ORDER BY due_at, post_id
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
"""
_NEXT = f"SELECT min(due_at) FROM penstock.scheduled_posts WHERE {_WAITS}"
_PARK = "UPDATE penstock.scheduled_posts SET parked_at = now(), updated_at = now() WHERE post_id = ANY(%s)"
_MOVE = """
UPDATE penstock.scheduled_posts p
   SET state = m.state, version = p.version + 1, claimed_by = m.job_id, claimed_at = now(), last_code = m.code,
       updated_at = now()
  FROM unnest(%(post_ids)s::uuid[], %(states)s::text[], %(job_ids)s::uuid[], %(codes)s::text[])
       AS m (post_id, state, job_id, code)
 WHERE p.post_id = m.post_id
"""


@dataclass(frozen=True, slots=True)
class DuePost:
    """A post that is due by now or soon, as it was before it was claimed."""

    post_id: UUID
    tenant: str
    account_id: UUID
    platform: str
    due_at: datetime
    lateness_policy: str
    grace: timedelta
    version: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a post that was due: claimed, expired (its job makes it a dead letter), or held (no job)."""

    post_id: UUID
    state: PostState
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim did. `is_full`: there may be more, so come again at once."""

    moved: tuple[Moved, ...]
    parked: tuple[UUID, ...]
    is_full: bool


def claim_due(
    connection: psycopg.Connection[Any], now: datetime, limit: int = CLAIM_LIMIT, lead: timedelta = timedelta()
) -> Claim:
    """Claim posts whose instant has come or comes soon, the earliest first, and enqueue the jobs that publish them.

    Several may do so at once: none gets a post that another one has. A post whose account is not active is parked. One
    whose grace is over is treated as its policy says. A claimed post is not due yet, maybe: its job prepares what takes
    time and waits for the instant, and until then it can be rescheduled and cancelled like any other.

    Args:
        connection: within a transaction that the caller commits; if it does not, nothing has happened.
        now: the real now, by which lateness is judged.
        limit: posts at the most.
        lead: how long before its instant a post is claimed.

    Raises:
        psycopg.Error: as any statement.
    """
    with connection.cursor(row_factory=class_row(DuePost)) as cursor:
        due = cursor.execute(_LOCK, {"due_by": now + lead, "limit": limit}).fetchall()
    closed = inactive_among(connection, list({post.account_id for post in due})) if due else set()
    parked = tuple(post.post_id for post in due if post.account_id in closed)
    if parked:
        connection.execute(_PARK, (list(parked),))
    moved = _move(connection, [post for post in due if post.account_id not in closed], now)
    return Claim(moved, parked, is_full=len(due) == limit)


def next_due(connection: psycopg.Connection[Any]) -> datetime | None:
    """The earliest instant of a post that waits to be claimed; None where none waits.

    Raises:
        psycopg.Error: as any statement.
    """
    row = connection.execute(_NEXT).fetchone()
    return None if row is None else row[0]


def late_state(policy: str, due_at: datetime, grace: timedelta, now: datetime) -> PostState | None:
    """Where lateness puts a post that is to be published now; None where it is published."""
    if now <= due_at + grace or policy == LatenessPolicy.RUN:
        return None
    return PostState.EXPIRED if policy == LatenessPolicy.EXPIRE else PostState.HELD


def _move(connection: psycopg.Connection[Any], posts: Sequence[DuePost], now: datetime) -> tuple[Moved, ...]:
    moved = tuple(_judge(post, now) for post in posts)
    if not moved:
        return ()
    codes = [None if to.state is PostState.CLAIMED else Code.POST_EXPIRED for to in moved]
    parameters = {
        "post_ids": [to.post_id for to in moved],
        "states": [str(to.state) for to in moved],
        "job_ids": [to.job_id for to in moved],
        "codes": codes,
    }
    connection.execute(_MOVE, parameters)
    jobs = [
        JobToEnqueue(_job_of(post), post.tenant) for post, to in zip(posts, moved, strict=True) if to.job_id is not None
    ]
    enqueue_many_in_transaction(connection, jobs)
    return moved


def _judge(post: DuePost, now: datetime) -> Moved:
    state = late_state(post.lateness_policy, post.due_at, post.grace, now) or PostState.CLAIMED
    if state is PostState.HELD:
        return Moved(post.post_id, state, None)
    key = publish_key(post.post_id, post.version + 1)
    return Moved(post.post_id, state, job_id(post.tenant, PublishPost.kind, key))


def _job_of(post: DuePost) -> PublishPost:
    return PublishPost(
        post_id=post.post_id,
        version=post.version + 1,
        account_id=post.account_id,
        platform=post.platform,
        due_at=post.due_at,
    )
