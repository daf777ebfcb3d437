"""A person's rows among the rejected ones, in the order of the table's key."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from penstock.workers.compliance.person import Person
from penstock.workers.submissions.erased import content_subjects
from penstock.workers.telemetry.queries import timed_query

#: Rows that are read at once, each as large as its producer sent it.
SLICE_ROWS = 1_000

_SLICE = """
SELECT batch_id, position, form_id, external_id, content::text, content_bytes, faults::text
  FROM penstock.submission_rejections
 WHERE tenant = %s AND (batch_id, position) > (%s, %s)
 ORDER BY batch_id, position LIMIT %s
"""
_ERASE = "SELECT penstock.erase_rejections(%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class FoundRejection:
    """One rejected row of the person, as it was sent."""

    batch_id: str
    position: int
    form_id: str
    external_id: str | None
    content: str = field(repr=False)
    faults: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look found, and where the next one begins; None behind the last."""

    rows: Sequence[FoundRejection]
    place: tuple[str, int] | None


def look(connection: psycopg.Connection[Any], person: Person, place: tuple[str, int]) -> Slice:
    """Look into the next slice behind `place`: at first `("", -1)`, then what the slice before said."""
    with timed_query("select", "submission_rejections"):
        read = connection.execute(_SLICE, (person.tenant, *place, SLICE_ROWS)).fetchall()
    found = [_found(*row) for row in read]
    behind = (found[-1].batch_id, found[-1].position) if len(found) == SLICE_ROWS else None
    return Slice([row for row in found if is_theirs(person, row)], behind)


def is_theirs(person: Person, row: FoundRejection) -> bool:
    """Whether a rejected row is the person's."""
    form = person.form(row.form_id)
    return form is not None and person.is_among(content_subjects(form, row.content, row.external_id))


def erase(connection: psycopg.Connection[Any], request_id: UUID, rows: Sequence[FoundRejection]) -> int:
    """Delete rows, and move them in their batches' counts; returns how many were there."""
    if not rows:
        return 0
    places = [row.batch_id for row in rows], [row.position for row in rows]
    with timed_query("delete", "submission_rejections"):
        row = connection.execute(_ERASE, (request_id, *places)).fetchone()
    return int(row[0]) if row else 0


def _found(
    batch_id: str,
    position: int,
    form_id: str,
    external_id: str | None,
    content: str | None,
    content_bytes: bytes | None,
    faults: str,
) -> FoundRejection:
    text = bytes(content_bytes or b"").decode(errors="replace") if content is None else content
    return FoundRejection(batch_id, position, form_id, external_id, text, faults)
