"""What became of batches: reads of the ledger and of the rejections."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch whose effect is committed. `rejected` rows stand in `submission_rejections`."""

    batch_id: str
    tenant: str
    form_id: str
    form_version: int
    base_batch_id: str
    first_position: int
    status: str
    stored: int
    rejected: int
    duplicates: int
    digest: bytes
    replays: str | None
    received_at: datetime
    committed_at: datetime
    unresolved: int
    #: Rows of people whose data was erased.
    erased: int = 0

    @property
    def rows(self) -> int:
        """How many rows the batch had."""
        return self.stored + self.rejected + self.duplicates + self.erased

    def as_dict(self) -> dict[str, Any]:
        """The batch as commands and endpoints show it."""
        return {
            "batch_id": self.batch_id,
            "tenant": self.tenant,
            "form_id": self.form_id,
            "form_version": self.form_version,
            "base_batch_id": self.base_batch_id,
            "first_position": self.first_position,
            "state": self.status,
            "rows": self.rows,
            "stored": self.stored,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            **({"erased": self.erased} if self.erased else {}),
            # None rather than a made-up rate where there is nothing to divide.
            "success_rate": round((self.rows - self.rejected) / self.rows, 6) if self.rows else None,
            "rejected_unresolved": self.unresolved,
            "replays": self.replays,
            "received_at": self.received_at.isoformat(),
            "committed_at": self.committed_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected row. Exactly one of `content` (its JSON text) and `content_bytes` is there."""

    batch_id: str
    form_id: str
    position: int
    external_id: str | None
    submitted_at: str | None
    content: str | None
    content_bytes: bytes | None
    faults: list[dict[str, Any]]
    resolved_by: str | None
    resolved_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The rejection as commands and endpoints show it, with the row as it was sent."""
        shown: dict[str, Any] = {
            "batch_id": self.batch_id,
            "form_id": self.form_id,
            "position": self.position,
            "id": self.external_id,
            "submitted_at": self.submitted_at,
            "faults": self.faults,
            "resolved_by": self.resolved_by,
            "resolved_at": None if self.resolved_at is None else self.resolved_at.isoformat(),
        }
        if self.content is not None:
            return shown | {"content": json.loads(self.content)}
        return shown | {"content_hex": (self.content_bytes or b"").hex()}


_BATCH = """
SELECT b.batch_id, b.tenant, b.form_id, b.form_version, b.base_batch_id, b.first_position, b.status, b.stored,
       b.rejected, b.duplicates, b.erased, b.digest, b.replays, b.received_at, b.committed_at,
       (SELECT count(*) FROM penstock.submission_rejections r
         WHERE r.tenant = b.tenant AND r.batch_id = b.batch_id AND r.resolved_at IS NULL)::int AS unresolved
  FROM penstock.submission_batches b
"""

# Base and batch ids order as text: the parts of a file are numbered with leading zeros.
_REJECTIONS = """
SELECT r.batch_id, r.form_id, r.position, r.external_id, r.submitted_at, r.content::text AS content,
       r.content_bytes, r.faults, r.resolved_by, r.resolved_at
  FROM penstock.submission_rejections r
 WHERE r.tenant = %(tenant)s AND r.batch_id = ANY(%(batch_ids)s)
   AND (r.batch_id, r.position) > (%(after_batch)s, %(after_position)s)
 ORDER BY r.batch_id, r.position
 LIMIT %(limit)s
"""

_CODES = """
SELECT fault ->> 'code' AS code, count(*) AS rows
  FROM penstock.submission_rejections r, jsonb_array_elements(r.faults) AS fault
 WHERE r.tenant = %s AND r.batch_id = ANY(%s)
 GROUP BY 1 ORDER BY 2 DESC, 1
"""


def find_batches(connection: psycopg.Connection, tenant: str, batch_ids: Sequence[str]) -> dict[str, StoredBatch]:
    """Those of the batches that are committed, by id."""
    with connection.cursor(row_factory=class_row(StoredBatch)) as cursor:
        cursor.execute(f"{_BATCH} WHERE b.tenant = %s AND b.batch_id = ANY(%s)", (tenant, list(batch_ids)))
        return {batch.batch_id: batch for batch in cursor}


def batches_of_base(connection: psycopg.Connection, tenant: str, base_batch_id: str) -> list[StoredBatch]:
    """The committed batches of a file, in its order."""
    with connection.cursor(row_factory=class_row(StoredBatch)) as cursor:
        cursor.execute(
            f"{_BATCH} WHERE b.tenant = %s AND b.base_batch_id = %s ORDER BY b.first_position, b.batch_id",
            (tenant, base_batch_id),
        )
        return cursor.fetchall()


def find_base(connection: psycopg.Connection, tenant: str, base_batch_id: str) -> tuple[str, int | None] | None:
    """How a file was cut: its form's id and its batch size (None for a single batch); None where it is not known."""
    return connection.execute(
        """
        SELECT f.form_id, b.batch_size FROM penstock.base_batches b JOIN penstock.forms f USING (form_key)
         WHERE b.tenant = %s AND b.base_batch_id = %s
        """,
        (tenant, base_batch_id),
    ).fetchone()


def list_rejections(
    connection: psycopg.Connection,
    tenant: str,
    batch_ids: Sequence[str],
    after: tuple[str, int] = ("", -1),
    limit: int = 100,
) -> list[Rejection]:
    """A page of the rejected rows of some batches, by batch and position, those after `after`."""
    with connection.cursor(row_factory=class_row(Rejection)) as cursor:
        parameters = {
            "tenant": tenant,
            "batch_ids": list(batch_ids),
            "after_batch": after[0],
            "after_position": after[1],
            "limit": limit,
        }
        return cursor.execute(_REJECTIONS, parameters).fetchall()


def count_faults(connection: psycopg.Connection, tenant: str, batch_ids: Sequence[str]) -> dict[str, int]:
    """How many faults of each code the rejected rows of some batches have, the most frequent first."""
    return dict(connection.execute(_CODES, (tenant, list(batch_ids))).fetchall())


def rejected_positions(connection: psycopg.Connection, tenant: str, batch_id: str) -> set[int]:
    """The positions of a batch's rejected rows, resolved or not."""
    found = connection.execute(
        "SELECT position FROM penstock.submission_rejections WHERE tenant = %s AND batch_id = %s", (tenant, batch_id)
    )
    return {position for (position,) in found}
