"""What became of the jobs of the outbox that were relayed a while ago."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from penstock.producers.storage.outbox import OUTBOX_COLUMNS, OutboxRow


@dataclass(frozen=True, slots=True)
class RelayedRow:
    """A row whose job went to its queue. `state` is `relayed` or `dead`."""

    id: int
    job_id: UUID
    kind: str
    queue: str | None
    state: str
    last_code: str | None
    payload_bytes: int


_CLAIM = """
SELECT id, job_id, kind, queue, state, last_code, octet_length(payload) AS payload_bytes FROM penstock.outbox
 WHERE state = %s AND checked_at < now() - %s
 ORDER BY checked_at LIMIT %s FOR UPDATE SKIP LOCKED
"""


def claim_relayed(connection: psycopg.Connection, state: str, age: timedelta, limit: int) -> list[RelayedRow]:
    """Lock rows of `state` (`relayed`, `dead`) that were last looked at over `age` ago, until the transaction ends."""
    with connection.cursor(row_factory=class_row(RelayedRow)) as cursor:
        return cursor.execute(_CLAIM, (state, age, limit)).fetchall()


_CLAIM_UNREVIVED = """
SELECT id, job_id, kind, queue, state, last_code, octet_length(payload) AS payload_bytes FROM penstock.outbox
 WHERE state IN ('dead', 'conflict') AND revives IS NOT NULL AND relayed_at IS NULL AND checked_at < now() - %s
 ORDER BY checked_at LIMIT %s FOR UPDATE SKIP LOCKED
"""


def claim_unrevived(connection: psycopg.Connection, age: timedelta, limit: int) -> list[RelayedRow]:
    """Lock rows of jobs that were called back from the dead, and offered by a release that does not know of that."""
    with connection.cursor(row_factory=class_row(RelayedRow)) as cursor:
        return cursor.execute(_CLAIM_UNREVIVED, (age, limit)).fetchall()


def find_lettered(connection: psycopg.Connection, job_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the jobs whose latest death is archived, and from which nobody called them back."""
    found = connection.execute(
        """
        SELECT job_id FROM (
            SELECT DISTINCT ON (job_id) job_id, state FROM penstock.dead_letters
             WHERE job_id = ANY(%s) ORDER BY job_id, died_at DESC
        ) AS latest WHERE state <> 'requeued'
        """,
        (list(job_ids),),
    )
    return {job_id for (job_id,) in found}


def find_effects(connection: psycopg.Connection, job_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the jobs whose effects are committed."""
    found = connection.execute("SELECT job_id FROM penstock.effects WHERE job_id = ANY(%s)", (list(job_ids),))
    return {job_id for (job_id,) in found}


def read_rows(connection: psycopg.Connection, ids: Sequence[int]) -> list[OutboxRow]:
    """These rows with their payloads, in the order of enqueueing."""
    with connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
        statement = f"SELECT {OUTBOX_COLUMNS} FROM penstock.outbox o WHERE o.id = ANY(%s) ORDER BY o.id"
        return cursor.execute(statement.encode(), (list(ids),)).fetchall()


def touch_rows(connection: psycopg.Connection, ids: Sequence[int], state: str) -> None:
    """Note that these rows were looked at now, and how they stand: `relayed` or `dead`."""
    if ids:
        connection.execute(
            "UPDATE penstock.outbox SET state = %s, checked_at = now() WHERE id = ANY(%s)", (state, list(ids))
        )


def delete_rows(connection: psycopg.Connection, ids: Sequence[int]) -> None:
    """Remove rows whose jobs are done with."""
    if ids:
        connection.execute("DELETE FROM penstock.outbox WHERE id = ANY(%s)", (list(ids),))
