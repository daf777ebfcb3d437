"""An owner's scheduled posts: read for an export, emptied and cancelled by an erasure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from penstock.workers.compliance.person import Person
from penstock.workers.telemetry.queries import timed_query

SLICE_ROWS = 500

_SLICE = """
SELECT post_id, owner, account_id, platform, content, state, due_at, external_id, url, published_at, created_at
  FROM penstock.scheduled_posts
 WHERE tenant = %s AND owner = %s AND post_id > %s
 ORDER BY post_id LIMIT %s
"""
_OWNERS = "SELECT DISTINCT owner FROM penstock.scheduled_posts WHERE tenant = %s AND lower(owner) = %s"
_ERASE = "SELECT penstock.erase_posts(%s, %s, %s)"
_LEFT = "SELECT count(*) FROM penstock.scheduled_posts WHERE tenant = %s AND owner = %s"


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look found, and behind which post the next one begins; None behind the last."""

    posts: Sequence[dict[str, Any]] = field(repr=False)
    place: UUID | None


def owners(connection: psycopg.Connection[Any], person: Person) -> list[str]:
    """The spellings of the owner that posts have."""
    return [owner for (owner,) in connection.execute(_OWNERS, (person.tenant, person.subject.value))]


def look(connection: psycopg.Connection[Any], person: Person, owner: str, place: UUID) -> Slice:
    """Read the owner's next posts behind `place`, in the order of their ids."""
    with timed_query("select", "scheduled_posts"):
        cursor = connection.cursor(row_factory=dict_row)
        rows = cursor.execute(_SLICE, (person.tenant, owner, place, SLICE_ROWS)).fetchall()
    return Slice(rows, rows[-1]["post_id"] if len(rows) == SLICE_ROWS else None)


def erase(connection: psycopg.Connection[Any], request_id: UUID, owner: str) -> int:
    """Empty the next posts of an owner; returns how many. Those that are being published are left for later."""
    with timed_query("update", "scheduled_posts"):
        row = connection.execute(_ERASE, (request_id, owner, SLICE_ROWS)).fetchone()
    return int(row[0]) if row else 0


def left(connection: psycopg.Connection[Any], person: Person, owner: str) -> int:
    """How many posts of an owner are left."""
    row = connection.execute(_LEFT, (person.tenant, owner)).fetchone()
    return int(row[0]) if row else 0
