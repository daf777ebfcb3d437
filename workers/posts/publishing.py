"""The steps by which a claimed post is published, each one UPDATE with a guard.

`prepare` is invisible and may be done again. The visible step is begun by `begin_publish`, which is committed before
the platform is asked: there is at most one try in flight in the whole cluster, and whoever finds one that he did not
begin looks up what became of it, and never asks the platform again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from penstock.schemas.errors import Code
from penstock.schemas.scheduled_post import PostState
from penstock.workers.accounts.store import inactive_among
from penstock.workers.posts.claims import late_state

_LOAD = """
SELECT post_id, tenant, account_id, platform, content, state, version, due_at, lateness_policy, grace, handle, step,
       attempts, external_id, url, armed_at, attempt_began_at, trace,
       greatest(attempt_ends_by - clock_timestamp(), INTERVAL '0') AS attempt_left
  FROM penstock.scheduled_posts WHERE post_id = %s
"""
_STORE_HANDLE = """
UPDATE penstock.scheduled_posts SET handle = %(handle)s, step = %(step)s, updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s AND state IN ('claimed', 'publishing')
   AND (state = 'claimed' OR handle IS NOT DISTINCT FROM %(handle)s)
"""
# By PostgreSQL's clock, since those of workers may differ.
_BEGIN = """
UPDATE penstock.scheduled_posts
   SET state = 'publishing', attempts = attempts + 1, attempt_began_at = clock_timestamp(),
       armed_at = coalesce(armed_at, clock_timestamp()), attempt_ends_by = clock_timestamp() + %(visible_for)s,
       updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s AND state = 'claimed'
   AND handle IS NOT DISTINCT FROM %(handle)s
RETURNING attempts
"""
_WITHDRAW = """
UPDATE penstock.scheduled_posts SET state = 'claimed', last_code = %(code)s, updated_at = now()
 WHERE post_id = %(post_id)s AND state = 'publishing' AND attempts = %(attempt)s
"""
_WITHDRAW_AFTER_LOOK_UP = f"{_WITHDRAW} AND attempt_ends_by <= clock_timestamp()"
# What is live is live, whatever was decided of the post in the meantime.
_PUBLISHED = """
UPDATE penstock.scheduled_posts
   SET state = 'published', external_id = coalesce(%(external_id)s, external_id), url = coalesce(%(url)s, url),
       last_code = NULL, parked_at = NULL,
       published_at = coalesce(published_at, %(published_at)s, now()), updated_at = now()
 WHERE post_id = %(post_id)s AND attempts >= 1
   AND (state <> 'published' OR external_id IS NULL AND %(external_id)s::text IS NOT NULL)
"""
# A claimed one has an earlier try that was not found: a later one that is refused does not say what came of that.
_UNKNOWN = """
UPDATE penstock.scheduled_posts SET state = 'unknown_outcome', last_code = %(code)s, updated_at = now()
 WHERE post_id = %(post_id)s AND state IN ('publishing', 'claimed') AND attempts = %(attempt)s AND attempts >= 1
"""
_DEAD = """
UPDATE penstock.scheduled_posts SET state = 'dead', last_code = %(code)s, updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s
   AND (state = 'claimed' OR state = 'publishing' AND attempts = %(attempt)s::integer)
"""
_LATE = """
UPDATE penstock.scheduled_posts SET state = %(state)s, last_code = %(code)s, updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s AND state = 'claimed'
"""
_ADD_URL = """
UPDATE penstock.scheduled_posts SET url = %(url)s, updated_at = now()
 WHERE post_id = %(post_id)s AND state = 'published' AND url IS NULL
"""
_REVIVE = """
UPDATE penstock.scheduled_posts
   SET state = 'claimed', handle = NULL, step = '{}', armed_at = NULL, last_code = NULL, updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s AND state = 'dead'
"""
_PARK = """
UPDATE penstock.scheduled_posts
   SET state = 'scheduled', version = version + 1, parked_at = now(), claimed_by = NULL, claimed_at = NULL,
       updated_at = now()
 WHERE post_id = %(post_id)s AND version = %(version)s AND state = 'claimed'
"""
_STUCK = """
SELECT post_id, tenant, state, claimed_by, claimed_at FROM penstock.scheduled_posts
 WHERE state IN ('claimed', 'publishing') AND claimed_at < %(before)s
   AND claimed_at >= coalesce(%(after_at)s::timestamptz, '-infinity')
   AND (%(after_at)s::timestamptz IS NULL OR (claimed_at, post_id) > (%(after_at)s, %(after_id)s::uuid))
 ORDER BY claimed_at, post_id
 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class PostToPublish:
    """A post as its publisher sees it.

    Attributes:
        attempts: visible steps that were begun.
        armed_at: when the first of them was, since the post was last decided on.
        attempt_left: how long the latest of them may still be under way; None where there was none.
        trace: the W3C `traceparent` of what it was scheduled by, where that was traced.
    """

    post_id: UUID
    tenant: str
    account_id: UUID
    platform: str
    content: dict[str, Any]
    state: str
    version: int
    due_at: datetime
    lateness_policy: str
    grace: timedelta
    handle: str | None
    step: dict[str, Any]
    attempts: int
    external_id: str | None
    url: str | None
    armed_at: datetime | None
    attempt_began_at: datetime | None
    attempt_left: timedelta | None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Began:
    """The visible step is the caller's to make, once, and it has to be over within the time that he named."""

    attempt: int


@dataclass(frozen=True, slots=True)
class InFlight:
    """A try was begun by somebody else, or by a worker that is no more: look up what became of it.

    Until `left` is over it may still be under way, and a look-up that finds nothing proves nothing.
    """

    attempt: int
    left: timedelta


@dataclass(frozen=True, slots=True)
class Superseded:
    """There is nothing to do for this version of the post, or its handle is another one meanwhile."""

    state: str


class Marked(StrEnum):
    """What noting a publication found."""

    NOW = "now"
    #: It was noted before, with the same id.
    SAME = "same"
    #: It was noted with another id: the post is on the platform twice. An alarm.
    OTHER = "other"
    #: No visible step was ever begun, or there is no such post.
    NEVER_BEGUN = "never_begun"


@dataclass(frozen=True, slots=True)
class StuckPost:
    """A post whose job has not ended for long: see what became of the job."""

    post_id: UUID
    tenant: str
    state: str
    claimed_by: UUID
    claimed_at: datetime


def load_post(connection: psycopg.Connection[Any], post_id: UUID) -> PostToPublish | None:
    """The post as it stands; None where it is not there."""
    with connection.cursor(row_factory=class_row(PostToPublish)) as cursor:
        return cursor.execute(_LOAD, (post_id,)).fetchone()


def store_handle(
    connection: psycopg.Connection[Any], post_id: UUID, version: int, handle: str | None, step: dict[str, Any]
) -> bool:
    """Keep what was prepared. Commit it before the visible step. False where the post is no longer the caller's.

    While the visible step is under way, only what belongs to the same handle is kept (how far an upload has come).
    """
    parameters = {"post_id": post_id, "version": version, "handle": handle, "step": Jsonb(step)}
    return connection.execute(_STORE_HANDLE, parameters).rowcount == 1


def begin_publish(
    connection: psycopg.Connection[Any], post_id: UUID, version: int, handle: str | None, visible_for: timedelta
) -> Began | InFlight | Superseded:
    """Begin the visible step, unless one was begun. Commit before the platform is asked.

    Args:
        connection: within a transaction.
        post_id: which post.
        version: of the caller's job.
        handle: what the caller is about to make visible; it must be the one that is stored.
        visible_for: the longest that the caller's step can take, counted from before this call.
    """
    parameters = {"post_id": post_id, "version": version, "handle": handle, "visible_for": visible_for}
    row = connection.execute(_BEGIN, parameters).fetchone()
    if row is not None:
        return Began(row[0])
    post = load_post(connection, post_id)
    if post is None:
        return Superseded("gone")
    if post.state == PostState.PUBLISHING and post.version == version:
        return InFlight(post.attempts, post.attempt_left or timedelta())
    return Superseded(post.state)


def withdraw_publish(connection: psycopg.Connection[Any], post_id: UUID, attempt: int, code: Code) -> bool:
    """Note that the caller's own try made nothing visible for certain, so that there may be another one."""
    return connection.execute(_WITHDRAW, {"post_id": post_id, "attempt": attempt, "code": code}).rowcount == 1


def withdraw_after_look_up(connection: psycopg.Connection[Any], post_id: UUID, attempt: int, code: Code) -> bool:
    """Note that a look-up found that a try made nothing visible. False while that try may still be under way."""
    parameters = {"post_id": post_id, "attempt": attempt, "code": code}
    return connection.execute(_WITHDRAW_AFTER_LOOK_UP, parameters).rowcount == 1


def mark_published(
    connection: psycopg.Connection[Any],
    post_id: UUID,
    external_id: str | None,
    url: str | None = None,
    published_at: datetime | None = None,
) -> Marked:
    """Note that the post is live, since the platform said so or a look-up found it.

    It is noted whatever state the post is in by now: a try that was given up may have had its effect after all. A
    platform may say so without its id; an id that comes later is added.
    """
    parameters = {"post_id": post_id, "external_id": external_id, "url": url, "published_at": published_at}
    if connection.execute(_PUBLISHED, parameters).rowcount == 1:
        return Marked.NOW
    post = load_post(connection, post_id)
    if post is None or post.state != PostState.PUBLISHED:
        return Marked.NEVER_BEGUN
    return Marked.SAME if external_id in (None, post.external_id) else Marked.OTHER


def mark_unknown(connection: psycopg.Connection[Any], post_id: UUID, attempt: int, code: Code) -> bool:
    """Note that nobody can tell whether a try had its effect: an operator looks. False where it is known by now."""
    return connection.execute(_UNKNOWN, {"post_id": post_id, "attempt": attempt, "code": code}).rowcount == 1


def mark_dead(
    connection: psycopg.Connection[Any], post_id: UUID, version: int, code: Code, attempt: int | None = None
) -> bool:
    """Note that no try can succeed. `attempt` is the caller's own one, where its answer said so."""
    parameters = {"post_id": post_id, "version": version, "code": code, "attempt": attempt}
    return connection.execute(_DEAD, parameters).rowcount == 1


def add_url(connection: psycopg.Connection[Any], post_id: UUID, url: str) -> bool:
    """Add the address of a published post that was not told when it was published."""
    return connection.execute(_ADD_URL, {"post_id": post_id, "url": url}).rowcount == 1


def revive(connection: psycopg.Connection[Any], post: PostToPublish) -> bool:
    """Take a dead post up again, from its beginning: nothing of it was visible when it died."""
    return connection.execute(_REVIVE, {"post_id": post.post_id, "version": post.version}).rowcount == 1


def settle_lateness(connection: psycopg.Connection[Any], post: PostToPublish, now: datetime) -> PostState | None:
    """Expire or hold a claimed post whose grace ended while its job waited; None where it is to be published.

    Not once a visible step was begun: whatever came of that, the post was in time for it.
    """
    state = late_state(post.lateness_policy, post.due_at, post.grace, now)
    if state is None or post.armed_at is not None:
        return None
    parameters = {"post_id": post.post_id, "version": post.version, "state": state, "code": Code.POST_EXPIRED}
    return state if connection.execute(_LATE, parameters).rowcount == 1 else None


def park(connection: psycopg.Connection[Any], post: PostToPublish) -> bool:
    """Put a claimed post back until its account is active again; it is claimed anew then, by another job.

    False where the account is active by now, or the post is not claimed any more: load it again.
    """
    if not inactive_among(connection, [post.account_id]):
        return False
    return connection.execute(_PARK, {"post_id": post.post_id, "version": post.version}).rowcount == 1


def stuck_posts(
    connection: psycopg.Connection[Any],
    before: datetime,
    limit: int = 100,
    after: tuple[datetime, UUID] | None = None,
) -> list[StuckPost]:
    """Posts that were claimed before an instant and are not published yet, the oldest first.

    `after`, an instant of claiming and a post's id, is where an earlier page ended.
    """
    after_at, after_id = after or (None, None)
    parameters = {"before": before, "limit": limit, "after_at": after_at, "after_id": after_id}
    with connection.cursor(row_factory=class_row(StuckPost)) as cursor:
        return cursor.execute(_STUCK, parameters).fetchall()
