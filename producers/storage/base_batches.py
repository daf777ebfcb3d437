"""What became of a file that was cut into batches: its committed parts in one row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

_SUMMARY = """
SELECT min(b.form_id) AS form_id, count(*)::int AS batches, sum(b.stored)::bigint AS stored,
       sum(b.rejected)::bigint AS rejected, sum(b.duplicates)::bigint AS duplicates,
       sum(b.erased)::bigint AS erased,
       min(b.received_at) AS received_at, max(b.committed_at) AS committed_at
  FROM penstock.submission_batches b
 WHERE b.tenant = %s AND b.base_batch_id = %s
"""
_IDS = "SELECT batch_id FROM penstock.submission_batches WHERE tenant = %s AND base_batch_id = %s ORDER BY batch_id"


@dataclass(frozen=True, slots=True)
class BaseSummary:
    """The committed parts of a file together."""

    form_id: str | None
    batches: int
    stored: int | None
    rejected: int | None
    duplicates: int | None
    erased: int | None
    received_at: datetime | None
    committed_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The numbers as endpoints show them."""
        stored, rejected, duplicates = self.stored or 0, self.rejected or 0, self.duplicates or 0
        erased = self.erased or 0
        return {
            "form_id": self.form_id,
            "batches_done": self.batches,
            "rows": stored + rejected + duplicates + erased,
            "stored": stored,
            "rejected": rejected,
            "duplicates": duplicates,
            **({"erased": erased} if erased else {}),
            "received_at": None if self.received_at is None else self.received_at.isoformat(),
            "committed_at": None if self.committed_at is None else self.committed_at.isoformat(),
        }


def summarise_base(connection: psycopg.Connection[Any], tenant: str, base_batch_id: str) -> BaseSummary:
    """The committed parts of a file in numbers; of a file without any, `batches` is 0."""
    with connection.cursor(row_factory=class_row(BaseSummary)) as cursor:
        found = cursor.execute(_SUMMARY, (tenant, base_batch_id)).fetchone()
    if found is None:
        raise TypeError("an aggregate without a row")
    return found


def committed_parts(connection: psycopg.Connection[Any], tenant: str, base_batch_id: str) -> list[str]:
    """The batch ids of the committed parts, in order."""
    return [batch_id for (batch_id,) in connection.execute(_IDS, (tenant, base_batch_id)).fetchall()]
