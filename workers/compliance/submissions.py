"""A person's rows in `penstock.submissions`: each partition walked once from its first block to its last.

A partition is read in the order of its file, which is many times faster than by its keys, and needs no index. Where a
look-up ended is a number of a block; rows are only added behind it, and those that are added are not the person's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from penstock.schemas.person_data import SubjectKind
from penstock.workers.compliance.person import Person
from penstock.workers.telemetry.queries import timed_query

#: Blocks of 8 KiB that are looked into by one statement, and where PostgreSQL can't tell rows of others apart.
SLICE_BLOCKS, NARROW_BLOCKS = 4_096, 256
#: Ids of rows of other people that mention the person, as a receipt lists them.
MENTIONS_LISTED = 100

# The default partition first: rows move out of it, into partitions that are then not looked into yet.
_PARTITIONS = """
SELECT c.oid::bigint, c.relname, pg_relation_filenode(c.oid)::bigint,
       pg_relation_size(c.oid) / current_setting('block_size')::integer
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'penstock.submissions'::regclass
 ORDER BY c.relname <> 'submissions_default', c.relname
"""
_COLUMNS = "s.form_key, s.submission_id, s.submitted_at, s.batch_id, s.form_id, s.external_id, s.answers::text"
_SLICE = sql.SQL(f"""
SELECT {_COLUMNS} FROM ONLY penstock.{{}} s
 WHERE s.ctid >= %(first)s::text::tid AND s.ctid < %(end)s::text::tid AND s.form_key = ANY(%(forms)s)
   AND (strpos(lower(s.answers::text COLLATE "C"), %(needle)s) > 0
        OR strpos(lower(coalesce(s.external_id, '') COLLATE "C"), %(needle)s) > 0)
""")
_BY_ID = f"SELECT {_COLUMNS} FROM penstock.submissions s WHERE s.form_key = ANY(%s) AND s.submission_id = %s"
_LEAVING = """
SELECT EXISTS (
    SELECT FROM pg_class
     WHERE relnamespace = 'penstock'::regnamespace AND relkind = 'r' AND relname ^@ 'leaving_submissions_'
)
"""
_ERASE = "SELECT penstock.erase_submissions(%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One submission of the person."""

    form_key: int
    submission_id: UUID
    submitted_at: datetime
    batch_id: str
    form_id: str
    external_id: str | None
    answers: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look found, and where the next one begins; None behind the last.

    Attributes:
        mentions: ids of rows of others that the person is mentioned in.
    """

    rows: Sequence[FoundRow]
    place: dict[str, Any] | None
    blocks: int = 0
    mentions: Sequence[str] = ()


def look(connection: psycopg.Connection[Any], person: Person, place: dict[str, Any]) -> Slice:
    """Look into the next slice. `place` is empty at first, then what the slice before said."""
    if person.subject.kind is SubjectKind.SUBMISSION:
        by_id = (person.form_keys, UUID(hex=person.subject.value))
        with timed_query("select", "submissions"):
            return Slice([FoundRow(*row) for row in connection.execute(_BY_ID, by_id)], None)
    place = _next_place(connection, place)
    if not place:
        return Slice((), None)
    width = SLICE_BLOCKS if person.needle else NARROW_BLOCKS
    end = min(place["block"] + width, place["blocks"])
    values = {
        "first": f"({place['block']},0)",
        "end": f"({end},0)",
        "forms": person.form_keys,
        "needle": person.needle,
    }
    with timed_query("select", "submissions"):
        statement = _SLICE.format(sql.Identifier(place["name"]))
        found = [FoundRow(*row) for row in connection.execute(statement, values)]
    rows = [row for row in found if is_theirs(person, row)]
    taken = {row.submission_id for row in rows}
    mentions = [
        str(row.submission_id) for row in found if row.submission_id not in taken and person.is_mentioned(row.answers)
    ]
    return Slice(rows, {**place, "block": end}, end - int(place["block"]), mentions)


def are_some_leaving(connection: psycopg.Connection[Any]) -> bool:
    """Whether a partition is on its way into an archive: no part of the table any more, and still in the database."""
    row = connection.execute(_LEAVING).fetchone()
    return row is not None and bool(row[0])


def is_theirs(person: Person, row: FoundRow) -> bool:
    """Whether a stored row is the person's."""
    form = person.form(row.form_id)
    if form is None:
        return False
    return person.is_among(form.subjects(row.external_id, row.submission_id.bytes, json.loads(row.answers)))


def erase(connection: psycopg.Connection[Any], request_id: UUID, rows: Sequence[FoundRow]) -> int:
    """Delete rows, and move them in their batches' counts; returns how many were there."""
    if not rows:
        return 0
    keys, ids, instants = (
        [row.form_key for row in rows],
        [row.submission_id for row in rows],
        [row.submitted_at for row in rows],
    )
    with timed_query("delete", "submissions"):
        row = connection.execute(_ERASE, (request_id, keys, ids, instants)).fetchone()
    return int(row[0]) if row else 0


def _next_place(connection: psycopg.Connection[Any], place: dict[str, Any]) -> dict[str, Any]:
    """Where to look next: on in the partition, or at the beginning of a new one; empty at the end."""
    done = set(place.get("done", ()))
    if place and place["block"] >= place["blocks"]:
        done.add(place["oid"])
    for oid, name, file, blocks in connection.execute(_PARTITIONS).fetchall():
        if oid in done:
            continue
        if oid == place.get("oid") and file == place.get("file"):
            return place
        # A partition that was written anew (VACUUM FULL) meanwhile has its rows in other places.
        return {"done": sorted(done), "oid": oid, "name": name, "file": file, "block": 0, "blocks": int(blocks)}
    return {}
