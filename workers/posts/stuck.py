"""Posts whose job ended without them: its worker was killed, its time was over, or nobody could run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

# The job is dead where its latest death was not called back. The letter is locked, so that nobody calls it back while
# the post is settled. What a worker began may have its effect until `attempt_ends_by`, whatever became of the worker.
# A claimed post with doubts (`Notes`) has an earlier try that was not found and may have had its effect.
_END = """
WITH bereft AS (
    SELECT post.post_id, letter.code
      FROM penstock.scheduled_posts post
      JOIN penstock.dead_letters letter ON letter.job_id = post.claimed_by AND letter.state <> 'requeued'
     WHERE post.state IN ('claimed', 'publishing')
       AND (post.state = 'claimed' OR post.attempt_ends_by <= clock_timestamp())
       AND NOT EXISTS (
           SELECT FROM penstock.dead_letters later
            WHERE later.job_id = letter.job_id AND later.died_at > letter.died_at
       )
     ORDER BY post.claimed_at
     LIMIT %(limit)s
       FOR UPDATE OF post SKIP LOCKED
       FOR SHARE OF letter SKIP LOCKED
)
UPDATE penstock.scheduled_posts post
   SET state = CASE WHEN post.state = 'claimed' AND coalesce(post.step ->> 'doubts', '0') = '0'
                    THEN 'dead' ELSE 'unknown_outcome' END,
       last_code = bereft.code, updated_at = now()
  FROM bereft
 WHERE post.post_id = bereft.post_id
RETURNING post.post_id, post.tenant, post.state, post.claimed_by AS job_id, post.last_code AS code
"""
_IN_OUTBOX = "SELECT job_id FROM penstock.outbox WHERE job_id = ANY(%s) AND state <> 'conflict'"


@dataclass(frozen=True, slots=True)
class EndedPost:
    """A post that was settled since its job is dead: `dead` or `unknown_outcome`, with the code of the death."""

    post_id: UUID
    tenant: str
    state: str
    job_id: UUID
    code: str


def end_bereft(connection: psycopg.Connection[Any], limit: int = 100) -> list[EndedPost]:
    """Settle posts whose jobs are dead letters.

    A post that was claimed is `dead`: nothing of it is visible. One that was being published is `unknown_outcome`, once
    its last try is over for certain, and so is one with an earlier try in doubt. What a platform tells later of such a
    post is still noted.

    Args:
        connection: within a transaction that the caller commits.
        limit: posts at the most.

    Raises:
        psycopg.Error: as any statement.
    """
    with connection.cursor(row_factory=class_row(EndedPost)) as cursor:
        return cursor.execute(_END, {"limit": limit}).fetchall()


def jobs_in_outbox(connection: psycopg.Connection[Any], job_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the jobs that the outbox has, so that they are relayed, or asked about until they have ended."""
    return {row[0] for row in connection.execute(_IN_OUTBOX, (list(job_ids),))}
