"""The way of dead letters into PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from penstock.schemas.encoding import compact_json
from penstock.schemas.job import Payload, job_kinds
from penstock.workers.dead_letters.fingerprint import group_of
from penstock.workers.dead_letters.projection import project, read_payload, storable, storable_text, subjects_of
from penstock.workers.dead_letters.record import LetterRecord
from penstock.workers.dead_letters.words import searchable
from penstock.workers.telemetry.queries import timed_query

#: No more than PENSTOCK_MESSAGE_BYTES_LIMIT can ever allow.
PAYLOAD_BYTES_LIMIT = 268_435_456

#: "PENS" and 9: those who insert letters do it one after the other. They would insert the same ones.
_LOCK = "SELECT pg_advisory_xact_lock(1346719315, 9)"

# In order, as everybody who changes several letters. Which of the two outcomes a letter waits for no more is none of
# its group's counts, so the one statement that locks groups here is the INSERT.
_LOCK_EARLIER = """
SELECT earlier.dead_id
  FROM unnest(%s::uuid[], %s::timestamptz[]) AS died (job_id, died_at)
  JOIN penstock.dead_letters earlier USING (job_id)
 WHERE earlier.became = 'waiting' AND earlier.died_at < died.died_at
 ORDER BY earlier.dead_id
   FOR UPDATE OF earlier
"""
_DIED_AGAIN = "UPDATE penstock.dead_letters SET became = 'died' WHERE dead_id = ANY(%s)"

#: Each column and what it is made of: the type of its array, and what is to be done with an element of it.
_COLUMNS = {
    "dead_id": "uuid",
    "job_id": "uuid",
    "queue": "text",
    "kind": "text",
    "tenant": "text",
    "code": "text",
    "message": "text",
    "error": "text",
    "fingerprint": "text",
    "site": "text",
    "form_id": "text",
    "platform": "text",
    "account": "text",
    "attempts": "integer",
    "recoveries": "integer",
    "crashes": "integer",
    "postpones": "integer",
    "payload_version": "integer",
    "idempotency_key": "text",
    "enqueued_at": "timestamptz",
    "died_at": "timestamptz",
    "worker": "text",
    "release": "text",
    "trace_id": "text",
    "trace": "text",
    "sentry_id": "text",
    "history": "text",
    "message_bytes": "integer",
    "body": "bytea",
    "encoding": "text",
    "header_ok": "boolean",
    "raw": "bytea",
    "payload": "text",
    "search": "text",
}
_MADE_OF = {"history": "history::jsonb", "payload": "payload::jsonb", "search": "to_tsvector('simple', search)"}


def _statement() -> str:
    arrays = ", ".join(f"%({name}){'b' if kind == 'bytea' else 's'}::{kind}[]" for name, kind in _COLUMNS.items())
    return (
        f"INSERT INTO penstock.dead_letters ({', '.join(_COLUMNS)})"
        f" SELECT {', '.join(_MADE_OF.get(name, name) for name in _COLUMNS)}"
        f" FROM unnest({arrays}) AS given ({', '.join(_COLUMNS)})"
        " ON CONFLICT (dead_id) DO NOTHING"
    )


_INSERT = _statement()


def insert_letters(
    connection: psycopg.Connection,
    letters: Sequence[LetterRecord],
    kinds: Mapping[str, type[Payload]] | None = None,
) -> int:
    """Insert deaths in the caller's transaction; those that are there already change nothing.

    Letters of the same jobs that were requeued and waited for an outcome have died again by that.

    Args:
        connection: within a transaction.
        letters: of any number of queues; all their payloads are in memory at once.
        kinds: that tell what their jobs are about; all that are known to this process if absent.

    Returns:
        How many were new.

    Raises:
        psycopg.Error: as any statement: nothing of these letters is inserted.
    """
    if not letters:
        return 0
    known = job_kinds() if kinds is None else kinds
    rows = [_row(letter, known) for letter in sorted(letters, key=lambda letter: letter.dead_id)]
    connection.execute(_LOCK)
    _note_died_again(connection, rows)
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    with timed_query("insert", "dead_letters"):
        return connection.execute(_INSERT.encode(), columns).rowcount


def _note_died_again(connection: psycopg.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    died = ([row["job_id"] for row in rows], [row["died_at"] for row in rows])
    earlier = [dead_id for (dead_id,) in connection.execute(_LOCK_EARLIER, died).fetchall()]
    if earlier:
        connection.execute(_DIED_AGAIN, (earlier,))


def _row(letter: LetterRecord, kinds: Mapping[str, type[Payload]]) -> dict[str, Any]:
    """The letter's columns, and those that follow from it."""
    row: dict[str, Any] = {name: _held(getattr(letter, name)) for name in _COLUMNS if hasattr(letter, name)}
    group, site = group_of(letter.kind, letter.code, letter.error, letter.message, letter.history)
    payload = read_payload(letter.body, letter.encoding, PAYLOAD_BYTES_LIMIT) if letter.header_ok else None
    subjects = subjects_of(letter.kind, payload, kinds)
    projection = project(payload)
    words = [row[name] for name in ("code", "message", "error", "kind", "tenant", "idempotency_key")]
    row |= {
        "fingerprint": group,
        "site": _held(site),
        "form_id": subjects.get("form"),
        "platform": subjects.get("platform"),
        "account": subjects.get("account"),
        "sentry_id": _held(letter.sentry),
        "history": compact_json(storable(letter.history)).decode(),
        "payload": None if projection is None else projection.decode(),
        "search": searchable([str(letter.job_id), *words, *subjects.values()]),
    }
    return row


def _held(value: Any) -> Any:
    return storable_text(value) if isinstance(value, str) else value
