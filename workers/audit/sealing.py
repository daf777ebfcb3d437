"""Seals what operators did: a new link of the chain covers all actions that were committed since the last one.

No insert waits for it: an action notes itself as waiting in its own transaction, and whatever is committed when a
seal is made is in it, in whatever order transactions began or ended. Only those who seal wait for each other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from penstock.schemas.errors import Code
from penstock.workers.audit.chain import newest_seal
from penstock.workers.audit.keys import PLAIN, AuditKeys
from penstock.workers.audit.seals import ACTION_TEXTS, NOTHING_BEFORE, Seal, action_digest, content_digest
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

#: Actions of one seal.
SEAL_ACTIONS = 1_000

#: "PENS" and 19.
_LOCK = "SELECT pg_try_advisory_xact_lock(1346719315, 19)"
_NOW = "SELECT extract(epoch FROM now())::text"
# The oldest first, and these in the order in which they were recorded. One that is sealed already was put back by
# hand, and is let be.
_WAITING = f"""
SELECT waiting.action_id::text, sealed.action_id IS NOT NULL, {ACTION_TEXTS}
  FROM (SELECT action_id FROM penstock.audit_unsealed ORDER BY added_at, action_id LIMIT {SEAL_ACTIONS}) AS waiting
  LEFT JOIN penstock.operator_actions action USING (action_id)
  LEFT JOIN penstock.audit_sealed_actions sealed ON sealed.action_id = waiting.action_id
 ORDER BY action.recorded_at, waiting.action_id
"""
_ADD_SEAL = """
INSERT INTO penstock.audit_seals
       (number, sealed_at, actions, first_action, last_action, content, previous, key_id, digest)
VALUES (%s, now(), %s, %s, %s, %s, %s, %s, %s)
"""
_ADD_ENTRIES = """
INSERT INTO penstock.audit_sealed_actions (seal, position, action_id, digest)
SELECT %s, place - 1, action_id, digest
  FROM unnest(%s::uuid[], %s::bytea[]) WITH ORDINALITY AS entry (action_id, digest, place)
"""
_TAKE = "DELETE FROM penstock.audit_unsealed WHERE action_id = ANY(%s::uuid[])"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal that was made. `more`: other actions wait."""

    seal: Seal
    more: bool


def seal_actions(connection: psycopg.Connection, keys: AuditKeys) -> Sealed | None:
    """Seal up to 1,000 actions that wait, in the caller's transaction; None where nothing does, or somebody else seals.

    Where there is a key that the last seal is not of, one is made in any case: nobody without it can change then what
    comes before.
    """
    with timed_query("insert", "audit_seals"):
        if not _one(connection, _LOCK):
            return None
        last = newest_seal(connection)
        rows = connection.execute(_WAITING.encode()).fetchall()
        entries = [(row[0], action_digest(row[2:])) for row in rows if not row[1]]
        if not entries and not _needs_new_key(last, keys):
            return None
        _doubt(last, keys)
        seal = _next_seal(last, entries, str(_one(connection, _NOW)), keys)
        _write(connection, seal, entries, [row[0] for row in rows])
    return Sealed(seal, more=len(rows) == SEAL_ACTIONS)


def _next_seal(last: Seal | None, entries: Sequence[tuple[str, bytes]], sealed_at: str, keys: AuditKeys) -> Seal:
    seal = Seal(
        number=1 if last is None else last.number + 1,
        sealed_at=sealed_at,
        actions=len(entries),
        first_action=entries[0][0] if entries else None,
        last_action=entries[-1][0] if entries else None,
        content=content_digest(entries),
        previous=NOTHING_BEFORE if last is None else last.digest,
        key_id=keys.current,
    )
    return replace(seal, digest=seal.expected_digest(keys))


def _write(
    connection: psycopg.Connection, seal: Seal, entries: Sequence[tuple[str, bytes]], waiting: Sequence[str]
) -> None:
    facts = (seal.number, seal.actions, seal.first_action, seal.last_action, seal.content, seal.previous, seal.key_id)
    connection.execute(_ADD_SEAL, (*facts, seal.digest))
    ids, digests = [action_id for action_id, _ in entries], [digest for _, digest in entries]
    connection.execute(_ADD_ENTRIES, (seal.number, ids, digests))
    connection.execute(_TAKE, (list(waiting),))


def _needs_new_key(last: Seal | None, keys: AuditKeys) -> bool:
    return last is not None and keys.current not in (last.key_id, PLAIN)


def _doubt(last: Seal | None, keys: AuditKeys) -> None:
    """Say so where the last seal is not whole. Sealing goes on all the same: what happens now must not be lost."""
    if last is None or not keys.knows(last.key_id) or last.digest == last.expected_digest(keys):
        return
    told = "the audit's seal %d is not what it was: run penstock audit verify"
    _log.error(told, last.number, extra={"code": Code.STORAGE_AUDIT_BROKEN})


def _one(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None
