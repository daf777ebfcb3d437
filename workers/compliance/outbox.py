"""Jobs of the outbox that hold something of a person: their payload is changed, whatever became of the job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from penstock.workers.compliance.payloads import without_person
from penstock.workers.compliance.person import Person
from penstock.workers.telemetry.queries import timed_query

SLICE_ROWS, SLICE_BYTES = 500, 16 * 1024 * 1024

# A requeued letter's job is as old as the letter, whenever its row was written.
_SLICE = """
SELECT id, kind, payload FROM (
    SELECT id, kind, payload,
           sum(octet_length(payload)) OVER (ORDER BY id) AS bytes, row_number() OVER (ORDER BY id) AS n
      FROM (
        SELECT id, kind, payload FROM penstock.outbox
         WHERE tenant = %s AND id > %s AND (created_at < %s OR revives IS NOT NULL)
         ORDER BY id LIMIT %s
      ) AS first
) AS fitting
 WHERE bytes <= %s OR n = 1
 ORDER BY id
"""
_LOCK = "SELECT id FROM penstock.outbox WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_ERASE = "SELECT penstock.erase_in_outbox(%s, %s, %b)"


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job that holds something of the person: what, and the payload that it is left with."""

    outbox_id: int
    kind: str
    taken: Sequence[str] = field(repr=False)
    left: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look found, and behind which row the next one begins; None behind the last."""

    jobs: Sequence[FoundJob]
    place: int | None


def look(connection: psycopg.Connection[Any], person: Person, place: int, before: datetime) -> Slice:
    """Look into the next rows behind `place`, of jobs that were enqueued before that instant."""
    with timed_query("select", "outbox"):
        rows = connection.execute(_SLICE, (person.tenant, place, before, SLICE_ROWS, SLICE_BYTES)).fetchall()
    found = [(outbox_id, kind, without_person(kind, bytes(payload), person)) for outbox_id, kind, payload in rows]
    jobs = [FoundJob(one, kind, left.taken, left.payload) for one, kind, left in found if left is not None]
    return Slice(jobs, rows[-1][0] if rows else None)


def erase(connection: psycopg.Connection[Any], request_id: UUID, jobs: Sequence[FoundJob]) -> int:
    """Give jobs what they are left with; returns how many were still there.

    One that is requeued from its letter meanwhile has a payload from there: the letter was changed before.
    """
    if not jobs:
        return 0
    with timed_query("update", "outbox"):
        there = {one for (one,) in connection.execute(_LOCK, ([job.outbox_id for job in jobs],))}
        for job in jobs:
            if job.outbox_id in there:
                connection.execute(_ERASE, (request_id, job.outbox_id, job.left))
    return len(there)
