"""Taking a post in: once, whatever is sent again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from penstock.schemas.errors import Code, ConflictError, NotFoundError
from penstock.schemas.scheduled_post import SchedulePost, post_digest
from penstock.workers.telemetry.traces import trace_of_job

# The account tells the platform, and whose post it is unless the producer does.
_ADD = """
INSERT INTO penstock.scheduled_posts
       (post_id, tenant, owner, account_id, platform, content, due_at, lateness_policy, grace, idempotency_key, digest,
        trace)
SELECT %(post_id)s, a.tenant, coalesce(%(owner)s, a.owner), a.account_id, a.platform, %(content)s, %(due_at)s,
       %(lateness_policy)s, %(grace)s, %(key)s, %(digest)s, %(trace)s
  FROM penstock.social_accounts a
 WHERE a.tenant = %(tenant)s AND a.account_id = %(account_id)s
    ON CONFLICT (post_id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A post that is stored. `repeated`: it was before, and nothing changed."""

    post_id: UUID
    due_at: datetime
    repeated: bool


def schedule_post(connection: psycopg.Connection[Any], tenant: str, post_id: UUID, post: SchedulePost) -> TakenIn:
    """Store a post. What its platform takes is to be checked before.

    Args:
        connection: within the actor's transaction.
        tenant: of the job.
        post_id: the id of the job that brings the post.
        post: what the producer asked for.

    Raises:
        NotFoundError: `ACCOUNT_NOT_FOUND`.
        ConflictError: `POST_CONFLICT` where the id is known with another post.
    """
    digest = post_digest(post)
    parameters = {
        "post_id": post_id,
        "tenant": tenant,
        "owner": post.owner,
        "account_id": post.account_id,
        "content": Jsonb(post.content.model_dump(mode="json", exclude_defaults=True)),
        "due_at": post.due_at,
        "lateness_policy": post.lateness_policy,
        "grace": post.grace,
        "key": post.key,
        "digest": digest,
        "trace": trace_of_job(str(post_id)),
    }
    if connection.execute(_ADD, parameters).rowcount == 1:
        return TakenIn(post_id, post.due_at, repeated=False)
    known = connection.execute(
        "SELECT digest FROM penstock.scheduled_posts WHERE tenant = %s AND post_id = %s", (tenant, post_id)
    ).fetchone()
    if known is None:
        raise NotFoundError(Code.ACCOUNT_NOT_FOUND, f"there is no account {post.account_id}")
    if bytes(known[0]) != digest:
        raise ConflictError(Code.POST_CONFLICT, f"the post {post_id} is known with other content")
    return TakenIn(post_id, post.due_at, repeated=True)
