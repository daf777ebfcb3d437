"""What stands where among the scheduled posts: reads of `scheduled_posts` and of `publish_attempts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from penstock.schemas.scheduled_post import PostState


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A post. `parked_at` tells since when it is due and waits for its account."""

    post_id: UUID
    tenant: str
    owner: str
    account_id: UUID
    platform: str
    content: dict[str, Any]
    state: str
    due_at: datetime
    lateness_policy: str
    grace: timedelta
    idempotency_key: str | None
    version: int
    claimed_by: UUID | None
    parked_at: datetime | None
    attempts: int
    external_id: str | None
    url: str | None
    published_at: datetime | None
    last_code: str | None
    created_at: datetime
    updated_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The post as commands and endpoints show it."""
        return {
            "post_id": str(self.post_id),
            "tenant": self.tenant,
            "owner": self.owner,
            "account_id": str(self.account_id),
            "platform": self.platform,
            "content": self.content,
            "state": self.state,
            "due_at": self.due_at.isoformat(),
            "lateness_policy": self.lateness_policy,
            "grace_seconds": int(self.grace.total_seconds()),
            "key": self.idempotency_key,
            "version": self.version,
            "job_id": None if self.claimed_by is None else str(self.claimed_by),
            "waits_for_account_since": _shown(self.parked_at),
            "attempts": self.attempts,
            "external_id": self.external_id,
            "url": self.url,
            "published_at": _shown(self.published_at),
            "code": self.last_code,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """One call to a platform. `attempt` 0: before any visible step."""

    at: datetime
    attempt: int
    phase: str
    request: dict[str, Any]
    answer_class: str
    code: str | None
    platform_code: str | None
    trace_id: str | None
    detail: str | None
    seconds: float
    worker: str
    release: str

    def as_dict(self) -> dict[str, Any]:
        """The call as commands and endpoints show it."""
        return {
            "at": self.at.isoformat(),
            "attempt": self.attempt,
            "phase": self.phase,
            "request": self.request,
            "answer": self.answer_class,
            "code": self.code,
            "platform_code": self.platform_code,
            "trace_id": self.trace_id,
            "detail": self.detail,
            "seconds": self.seconds,
            "worker": self.worker,
            "release": self.release,
        }


@dataclass(frozen=True, slots=True)
class PostFilter:
    """Which posts of a tenant: those that are all of what is given."""

    owner: str | None = None
    account_id: UUID | None = None
    platform: str | None = None
    state: PostState | None = None


_COLUMNS = """
    post_id, tenant, owner, account_id, platform, content, state, due_at, lateness_policy, grace, idempotency_key,
    version, claimed_by, parked_at, attempts, external_id, url, published_at, last_code, created_at, updated_at
"""

_ATTEMPTS = """
SELECT at, attempt, phase, request, answer_class, code, platform_code, trace_id, detail, seconds, worker, release
  FROM penstock.publish_attempts
 WHERE post_id = %s AND tenant = %s
 ORDER BY at DESC, attempt_id
 LIMIT %s
"""


def find_post(connection: psycopg.Connection[Any], tenant: str, post_id: UUID) -> StoredPost | None:
    """One post of a tenant."""
    with connection.cursor(row_factory=class_row(StoredPost)) as cursor:
        statement = f"SELECT {_COLUMNS} FROM penstock.scheduled_posts WHERE tenant = %s AND post_id = %s"
        return cursor.execute(statement, (tenant, post_id)).fetchone()


def list_posts(
    connection: psycopg.Connection[Any],
    tenant: str,
    which: PostFilter | None = None,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[StoredPost]:
    """A page of a tenant's posts by their instants, those after `after` (an instant and a post's id)."""
    statement, parameters = listing(tenant, which or PostFilter(), after, limit)
    with connection.cursor(row_factory=class_row(StoredPost)) as cursor:
        return cursor.execute(statement.encode(), parameters).fetchall()


def listing(
    tenant: str, which: PostFilter, after: tuple[datetime, UUID] | None, limit: int
) -> tuple[str, dict[str, Any]]:
    """The statement of a page and its parameters. What is not asked for is not in it, so each has its index."""
    conditions, parameters = ["tenant = %(tenant)s"], {"tenant": tenant, "limit": limit}
    for column in ("owner", "account_id", "platform", "state"):
        wanted = getattr(which, column)
        if wanted is not None:
            conditions.append(f"{column} = %({column})s")
            parameters[column] = wanted
    if after is not None:
        conditions.append("(due_at, post_id) > (%(after_due)s, %(after_id)s)")
        parameters |= {"after_due": after[0], "after_id": after[1]}
    where = " AND ".join(conditions)
    statement = (
        f"SELECT {_COLUMNS} FROM penstock.scheduled_posts WHERE {where} ORDER BY due_at, post_id LIMIT %(limit)s"
    )
    return statement, parameters


def find_digests(connection: psycopg.Connection[Any], tenant: str, post_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The digests (`schemas.scheduled_post.post_digest`) of those of these posts that are stored."""
    found = connection.execute(
        "SELECT post_id, digest FROM penstock.scheduled_posts WHERE tenant = %s AND post_id = ANY(%s)",
        (tenant, list(post_ids)),
    )
    return {post_id: bytes(digest) for post_id, digest in found}


def list_attempts(
    connection: psycopg.Connection[Any], tenant: str, post_id: UUID, limit: int = 100
) -> list[StoredAttempt]:
    """The calls that were made for a post, the latest first."""
    with connection.cursor(row_factory=class_row(StoredAttempt)) as cursor:
        return cursor.execute(_ATTEMPTS, (post_id, tenant, limit)).fetchall()


def count_by_state(connection: psycopg.Connection[Any], tenant: str) -> dict[str, int]:
    """How many posts of the tenant stand in each state; states without any are left out."""
    found = connection.execute(
        "SELECT state, count(*) FROM penstock.scheduled_posts WHERE tenant = %s GROUP BY state", (tenant,)
    )
    return {row[0]: row[1] for row in found}


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
