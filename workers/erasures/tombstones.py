"""The marks of who was erased: rows of theirs that were enqueued before are dropped by whoever would store them.

A mark is committed before anybody looks for the person's rows. Who stores rows reads the tenant's mark after its first
write, in a statement that it needs anyway: so it either sees the mark, or is waited for (`Settling`) before the search.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from penstock.workers.erasures.digests import SubjectKeys
from penstock.workers.erasures.subjects import Subject
from penstock.workers.telemetry.queries import timed_query

# Under the row's lock, so that marks of one tenant are made one after the other.
_MARK = """
INSERT INTO penstock.erasure_marks AS known (tenant, newest, running) VALUES (%(tenant)s, %(before)s, 1)
ON CONFLICT (tenant) DO UPDATE SET newest = greatest(known.newest, EXCLUDED.newest), running = known.running + 1
"""
_ADD = """
INSERT INTO penstock.erased_subjects AS known (tenant, key_id, digest, before, request_id)
VALUES (%(tenant)s, %(key_id)s, %(digest)s, %(before)s, %(request_id)s)
ON CONFLICT (tenant, digest) DO UPDATE SET
   before = greatest(known.before, EXCLUDED.before), request_id = EXCLUDED.request_id
"""
_WATCH = "SELECT tenant, newest, running FROM penstock.erasure_marks WHERE tenant = ANY(%s)"
_KEY_IDS = "SELECT DISTINCT key_id FROM penstock.erased_subjects WHERE tenant = %s AND before > %s"
_FIND = "SELECT digest FROM penstock.erased_subjects WHERE tenant = %s AND before > %s AND digest = ANY(%b)"
# A requeued job is as old as the letter that it comes from.
_ORIGINS = "SELECT min(enqueued_at) FROM penstock.dead_letters WHERE job_id = %s AND tenant = %s"


@dataclass(frozen=True, slots=True)
class Watch:
    """What a tenant's mark says. `running`: erasures that have not ended."""

    newest: datetime
    running: int

    def concerns(self, enqueued_at: datetime) -> bool:
        """Whether rows that were enqueued then may be somebody's who was erased since.

        While an erasure goes on, any job may be one that was requeued, and so older than it looks.
        """
        return self.running > 0 or enqueued_at < self.newest


def put_tombstone(
    connection: psycopg.Connection[Any], tenant: str, key_id: str, digest: bytes, before: datetime, request_id: UUID
) -> None:
    """Mark a person as erased, in the transaction of the request."""
    values = {"tenant": tenant, "key_id": key_id, "digest": digest, "before": before, "request_id": request_id}
    connection.execute(_MARK, values)
    connection.execute(_ADD, values)


def watches_of(connection: psycopg.Connection[Any], tenants: Collection[str]) -> dict[str, Watch]:
    """The marks of those of the tenants that have one, for whoever inserts something next in this transaction.

    The transaction has its number before the marks are read: an erasure that it does not see waits for its end.
    """
    connection.execute("SELECT pg_current_xact_id()")
    rows = connection.execute(_WATCH, (sorted(tenants),))
    return {tenant: Watch(newest, running) for tenant, newest, running in rows}


def origin_of(connection: psycopg.Connection[Any], tenant: str, job_id: UUID, enqueued_at: datetime) -> datetime:
    """When the content of a job was first enqueued: a requeued one is as old as its letter."""
    row = connection.execute(_ORIGINS, (job_id, tenant)).fetchone()
    return enqueued_at if row is None or row[0] is None else min(enqueued_at, row[0])


def erased_among(
    connection: psycopg.Connection[Any],
    token_keys: str | None,
    tenant: str,
    enqueued_at: datetime,
    name: Callable[[], Iterable[Subject]],
) -> AbstractSet[Subject]:
    """Those of the subjects whose rows of that instant are not to be stored.

    Args:
        connection: within a transaction.
        token_keys: the setting whose keys the marks were made with.
        tenant: whose people they are.
        enqueued_at: when their rows were first enqueued.
        name: tells the subjects; it is asked where anybody was erased since then.

    Raises:
        InvalidInputError: `CONFIG_INVALID` where a mark that counts was made with a key that is not known here.
    """
    with timed_query("select", "erased_subjects"):
        key_ids = [key_id for (key_id,) in connection.execute(_KEY_IDS, (tenant, enqueued_at))]
        if not key_ids:
            return frozenset()
        keys = SubjectKeys.from_setting(token_keys)
        keys.require(key_ids)
        by_digest = _by_digest(keys, tenant, key_ids, set(name()))
        found = connection.execute(_FIND, (tenant, enqueued_at, list(by_digest))).fetchall()
    return {by_digest[bytes(digest)] for (digest,) in found}


def _by_digest(
    keys: SubjectKeys, tenant: str, key_ids: Sequence[str], subjects: AbstractSet[Subject]
) -> Mapping[bytes, Subject]:
    return {keys.digest(tenant, subject, key_id): subject for subject in subjects for key_id in key_ids}
