"""What PostgreSQL knows of jobs: the effects that are committed, and the outbox."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

#: Ids or rows of one question.
CHUNK = 5_000


class Effects:
    """Questions to PostgreSQL about jobs' effects, over a connection in autocommit. Each reads at most 5,000 rows."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def committed(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the jobs whose effect is committed. Raises psycopg.Error."""
        found: set[UUID] = set()
        for start in range(0, len(job_ids), CHUNK):
            cursor = self._connection.execute(
                "SELECT job_id FROM penstock.effects WHERE job_id = ANY(%s)", (list(job_ids[start : start + CHUNK]),)
            )
            found.update(job_id for (job_id,) in cursor)
        return found

    def lettered(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the jobs of which there is a dead letter. Raises psycopg.Error."""
        found: set[UUID] = set()
        for start in range(0, len(job_ids), CHUNK):
            # The view: contents are not for everybody who may reconcile.
            cursor = self._connection.execute(
                "SELECT job_id FROM penstock.dead_letter_facts WHERE job_id = ANY(%s)",
                (list(job_ids[start : start + CHUNK]),),
            )
            found.update(job_id for (job_id,) in cursor)
        return found

    def relayed_without_effect(self, age: timedelta) -> Iterator[list[UUID]]:
        """Jobs of the outbox that went to their queue longer ago than `age` and have no effect, in pages.

        Raises psycopg.Error.
        """
        after = 0
        while True:
            rows = self._page(after, age)
            if not rows:
                return
            after = rows[-1][0]
            jobs = [job_id for _, job_id in rows]
            done = self.committed(jobs)
            yield [job_id for job_id in jobs if job_id not in done]

    def _page(self, after: int, age: timedelta) -> list[tuple[int, UUID]]:
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(
                """
                SELECT id, job_id FROM penstock.outbox
                 WHERE id > %s AND state = 'relayed' AND relayed_at < now() - %s
                 ORDER BY id LIMIT %s
                """,
                (after, age, CHUNK),
            )
            return cursor.fetchall()
