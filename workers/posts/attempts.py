"""The record of every call to a platform: `penstock.publish_attempts`, a partition a month, kept for two years."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from penstock.schemas.errors import Code

#: Months for which attempts are kept after the month that they are of.
KEEP_MONTHS = 24

_ADD = """
INSERT INTO penstock.publish_attempts
       (at, attempt_id, post_id, tenant, account_id, platform, attempt, phase, request, answer_class, code,
        platform_code, trace_id, detail, seconds, worker, release)
VALUES (%(at)s, %(attempt_id)s, %(post_id)s, %(tenant)s, %(account_id)s, %(platform)s, %(attempt)s, %(phase)s,
        %(request)s, %(answer_class)s, %(code)s, %(platform_code)s, %(trace_id)s, %(detail)s, %(seconds)s, %(worker)s,
        %(release)s)
"""


@dataclass(frozen=True, slots=True)
class PublishAttempt:
    """One call to a platform, and its answer.

    Attributes:
        at: when the call began.
        attempt: visible steps that were begun by then, this one included.
        request: method, path and the names of parameters: never a text of the post, a token, or an address with one.
        detail: what happened, in our words.
        seconds: how long the call took.
    """

    at: datetime
    post_id: UUID
    tenant: str
    account_id: UUID
    platform: str
    attempt: int
    phase: str
    request: Mapping[str, Any]
    answer_class: str
    code: Code | None
    platform_code: str | None
    trace_id: str | None
    detail: str | None
    seconds: float
    worker: str
    release: str


def record_attempt(connection: psycopg.Connection[Any], attempt: PublishAttempt) -> UUID:
    """Add a call to the record; returns its id. It is evidence: nothing changes it, and only age removes it."""
    attempt_id = uuid4()
    parameters = {name: getattr(attempt, name) for name in attempt.__slots__}
    connection.execute(_ADD, parameters | {"attempt_id": attempt_id, "request": Jsonb(dict(attempt.request))})
    return attempt_id


def ensure_partitions(connection: psycopg.Connection[Any], months_ahead: int = 3) -> int:
    """Make the partitions of the coming months; returns how many were missing."""
    row = connection.execute("SELECT penstock.ensure_publish_attempts_partitions(%s)", (months_ahead,)).fetchone()
    return int(row[0]) if row else 0


def drop_old_partitions(connection: psycopg.Connection[Any], keep_months: int = KEEP_MONTHS) -> int:
    """Drop the partitions of months that ended over `keep_months` (12 at least) months ago; returns how many."""
    row = connection.execute("SELECT penstock.drop_publish_attempts_partitions(%s)", (keep_months,)).fetchone()
    return int(row[0]) if row else 0
