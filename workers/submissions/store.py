"""The SQL of batches: the ledger row first, then the rows straight into the table.

Statement order within a batch's savepoint: ledger, how the file was cut, rows, rejections. A batch that meets a row
id that is stored already is done again by the slower way that skips and counts such rows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Json

from penstock.workers.erasures.tombstones import Watch
from penstock.workers.submissions.accepted import Accepted, PlainRows
from penstock.workers.submissions.copy_block import COLUMNS, copy_block, rows_block
from penstock.workers.submissions.rows import Rejected
from penstock.workers.telemetry.queries import timed_query


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch that is judged and ready to be written."""

    tenant: str
    batch_id: str
    form_key: int
    form_id: str
    form_version: int
    #: True where the job itself named the version.
    version_named: bool
    base_batch_id: str
    batch_size: int | None
    first_position: int
    digest: bytes
    job_id: UUID
    replays: str | None
    received_us: int
    accepted: Sequence[Accepted]
    rejected: Sequence[Rejected]
    #: Rows whose people were erased; nothing of them is in the others.
    erased: int = 0

    @property
    def instants_us(self) -> Iterable[int]:
        """The instants of the accepted rows, in microseconds since 1970; what all have in common is there once."""
        if isinstance(self.accepted, PlainRows):
            return {self.accepted.submitted_us} if self.accepted else ()
        return (row.submitted_us for row in self.accepted)

    @property
    def received_at(self) -> datetime:
        """When the batch was enqueued."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.received_us)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger knows of a batch id."""

    form_key: int
    form_version: int
    digest: bytes
    base_batch_id: str
    replays: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What claiming a batch id found.

    Attributes:
        known: the ledger row that was there; None: it is ours now.
        cut: the form and the batch size of the file.
        watch: what is known of erasures of the tenant's people; nearly always None.
    """

    known: LedgerRow | None
    cut: tuple[int, int | None]
    watch: Watch | None = None


_CLAIM_LEDGER = """
INSERT INTO penstock.submission_batches
       (tenant, batch_id, form_key, form_id, form_version, base_batch_id, first_position, digest,
        stored, rejected, duplicates, erased, job_id, replays, received_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %b, %s, %s, 0, %s, %s, %s, %s)
ON CONFLICT (tenant, batch_id) DO NOTHING
"""
_CLAIM_BASE = """
INSERT INTO penstock.base_batches (tenant, base_batch_id, form_key, batch_size) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant, base_batch_id) DO NOTHING
"""
# The tenant's mark comes along: after the first write, as `watches_of` says, and without a statement of its own.
_READ_BASE = """
SELECT base.form_key, base.batch_size, mark.newest, mark.running
  FROM penstock.base_batches base LEFT JOIN penstock.erasure_marks mark USING (tenant)
 WHERE base.tenant = %s AND base.base_batch_id = %s
"""
_READ_LEDGER = """
SELECT form_key, form_version, digest, base_batch_id, replays
  FROM penstock.submission_batches WHERE tenant = %s AND batch_id = %s
"""
_COPY = f"COPY penstock.submissions ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
_INSERT_NEW = f"""
INSERT INTO penstock.submissions ({", ".join(COLUMNS)})
SELECT row.submitted_at, %(received_at)s, row.submission_id, %(form_key)s, %(batch_id)s, %(form_id)s,
       row.external_id, row.answers::jsonb
  FROM unnest(%(submitted)b::timestamptz[], %(ids)b::uuid[], %(externals)b::text[], %(answers)b::text[])
       AS row (submitted_at, submission_id, external_id, answers)
ON CONFLICT (form_key, submission_id, submitted_at) DO NOTHING
"""
_COUNT = """
UPDATE penstock.submission_batches SET stored = %s, rejected = %s, duplicates = %s, erased = %s
 WHERE tenant = %s AND batch_id = %s
"""
_REJECT = """
INSERT INTO penstock.submission_rejections
       (tenant, batch_id, form_id, position, external_id, submitted_at, content, content_bytes, faults)
VALUES (%s, %s, %s, %s, %s, %s, %s::json, %b, %s)
"""
_RESOLVE = """
UPDATE penstock.submission_rejections SET resolved_by = %s, resolved_at = now()
 WHERE tenant = %s AND batch_id = %s AND position = ANY(%s) AND resolved_at IS NULL
RETURNING position
"""


def claim(connection: psycopg.Connection, batches: Sequence[PreparedBatch]) -> list[Claim]:
    """Put batches into the ledger unless their ids are there; one round trip where all are new.

    A second transaction with one of the ids waits here until the first has ended.
    """
    bases = dict.fromkeys((batch.tenant, batch.base_batch_id) for batch in batches)
    with timed_query("insert", "submission_batches"), connection.pipeline():
        claimed = [connection.execute(_CLAIM_LEDGER, _ledger_row(batch)) for batch in batches]
        for batch in batches:
            base = (batch.tenant, batch.base_batch_id)
            if bases[base] is None:
                connection.execute(_CLAIM_BASE, (*base, batch.form_key, batch.batch_size))
                bases[base] = connection.execute(_READ_BASE, base)
    found = {base: () if read is None else read.fetchone() for base, read in bases.items()}
    return [
        _claim(connection, batch, found[batch.tenant, batch.base_batch_id], is_new=cursor.rowcount == 1)
        for batch, cursor in zip(batches, claimed, strict=True)
    ]


def _ledger_row(batch: PreparedBatch) -> tuple[object, ...]:
    return (
        batch.tenant,
        batch.batch_id,
        batch.form_key,
        batch.form_id,
        batch.form_version,
        batch.base_batch_id,
        batch.first_position,
        batch.digest,
        len(batch.accepted),
        len(batch.rejected),
        batch.erased,
        batch.job_id,
        batch.replays,
        batch.received_at,
    )


def _claim(connection: psycopg.Connection, batch: PreparedBatch, base: Any, *, is_new: bool) -> Claim:
    form_key, batch_size, *mark = base or (batch.form_key, batch.batch_size, None, None)
    cut = (form_key, batch_size)
    if is_new:
        return Claim(None, cut, None if mark[0] is None else Watch(*mark))
    known = connection.execute(_READ_LEDGER, (batch.tenant, batch.batch_id)).fetchone()
    if known is None:
        raise psycopg.errors.SerializationFailure("the ledger row vanished between two statements")
    return Claim(LedgerRow(*known), cut)


def find_replayed(connection: psycopg.Connection, tenant: str, batch_id: str) -> LedgerRow | None:
    """The ledger row of a batch whose rejections are replayed."""
    with timed_query("select", "submission_batches"):
        row = connection.execute(_READ_LEDGER, (tenant, batch_id)).fetchone()
    return None if row is None else LedgerRow(*row)


def copy_rows(connection: psycopg.Connection, parts: Iterable[tuple[PreparedBatch, Sequence[Accepted]]]) -> None:
    """Write rows of batches by one COPY; nothing is asked where there are none.

    Raises:
        psycopg.errors.UniqueViolation: where one of them is stored already; the savepoint is to be rolled back.
    """
    blocks = [
        rows_block(
            rows,
            form_key=batch.form_key,
            form_id=batch.form_id,
            batch_id=batch.batch_id,
            received_us=batch.received_us,
        )
        for batch, rows in parts
        if rows
    ]
    if not blocks:
        return
    with timed_query("copy", "submissions"), connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write(copy_block(blocks))


def insert_new_rows(connection: psycopg.Connection, batch: PreparedBatch, rows: Sequence[Accepted]) -> int:
    """Write those of the rows that are not stored yet; returns how many those were."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    values = {
        "received_at": batch.received_at,
        "form_key": batch.form_key,
        "batch_id": batch.batch_id,
        "form_id": batch.form_id,
        "submitted": [epoch + timedelta(microseconds=row.submitted_us) for row in rows],
        "ids": [UUID(bytes=row.submission_id) for row in rows],
        "externals": [row.external_id for row in rows],
        "answers": [row.answers.decode() for row in rows],
    }
    with timed_query("insert", "submissions"):
        return connection.execute(_INSERT_NEW, values).rowcount


def correct_counts(connection: psycopg.Connection, batch: PreparedBatch, stored: int, duplicates: int) -> None:
    """Say in the ledger what was stored where that is not what was hoped for."""
    with timed_query("update", "submission_batches"):
        counts = (stored, len(batch.rejected), duplicates, batch.erased)
        connection.execute(_COUNT, (*counts, batch.tenant, batch.batch_id))


def insert_rejections(connection: psycopg.Connection, batch: PreparedBatch) -> None:
    """Keep the rejected rows, whole, with all their faults."""
    rows = [
        (
            batch.tenant,
            batch.batch_id,
            batch.form_id,
            rejected.index,
            rejected.external_id,
            rejected.submitted_at,
            rejected.content,
            rejected.content_bytes,
            Json([fault.as_dict() for fault in rejected.faults], dumps=json.dumps),
        )
        for rejected in batch.rejected
    ]
    with timed_query("insert", "submission_rejections"), connection.cursor() as cursor:
        cursor.executemany(_REJECT, rows)


def resolve(connection: psycopg.Connection, batch: PreparedBatch, positions: Sequence[int]) -> set[int]:
    """Mark rejections of the replayed batch as resolved by this one; returns those that were not before."""
    with timed_query("update", "submission_rejections"):
        found = connection.execute(_RESOLVE, (batch.batch_id, batch.tenant, batch.replays, list(positions)))
    return {position for (position,) in found}
