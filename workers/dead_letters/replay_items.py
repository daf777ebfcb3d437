"""The letters of a replay in PostgreSQL: noted once, sent once, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from penstock.workers.dead_letters.replay import Replay, Selection

#: Letters that are looked at in one go while a replay is prepared.
CHUNK_LETTERS = 5_000
_FORGET_ITEMS = 5_000

# Walked in the order of the index, and looked into only there, so that each chunk takes the same time however few of
# the letters are meant.
_NOTE = """
WITH walked AS MATERIALIZED (
    SELECT dead_id, died_at{contents} FROM penstock.dead_letters
     WHERE {outside} AND archived_at <= %(r_created_at)s{behind}
     ORDER BY died_at, dead_id LIMIT %(r_limit)s
), noted AS (
    INSERT INTO penstock.replay_items (replay_id, dead_id, ordinal)
    SELECT %(r_replay_id)s, dead_id, %(r_total)s + row_number() OVER (ORDER BY died_at, dead_id)
      FROM walked WHERE {inside}
        ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM walked), (SELECT count(*) FROM noted), died_at, dead_id
  FROM walked ORDER BY died_at DESC, dead_id DESC LIMIT 1
"""
_BEHIND = " AND (died_at, dead_id) > (%(r_died_at)s, %(r_dead_id)s)"
_PENDING = """
SELECT item.dead_id, letter.message_bytes
  FROM (SELECT dead_id, ordinal FROM penstock.replay_items
         WHERE replay_id = %s AND state = 'pending' ORDER BY ordinal LIMIT %s) AS item
  LEFT JOIN penstock.dead_letters letter USING (dead_id) ORDER BY item.ordinal
"""
_MARK = "UPDATE penstock.replay_items SET state = %s WHERE replay_id = %s AND dead_id = ANY(%s)"
# A letter that is gone was resolved. One that is this replay's no more is open again, or was since: its job was lost.
_OUTCOMES = """
WITH ended AS (
    SELECT item.dead_id, CASE WHEN letter.replay_id = %(replay_id)s THEN letter.became ELSE 'skipped' END AS became
      FROM penstock.replay_items item
      JOIN penstock.dead_letters letter USING (dead_id)
     WHERE item.replay_id = %(replay_id)s AND item.state = 'sent'
       AND (letter.became IN ('done', 'died') OR letter.replay_id IS DISTINCT FROM %(replay_id)s)
), marked AS (
    UPDATE penstock.replay_items item SET state = ended.became FROM ended
     WHERE item.replay_id = %(replay_id)s AND item.dead_id = ended.dead_id
    RETURNING item.state
)
SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'died'),
       count(*) FILTER (WHERE state = 'skipped')
  FROM marked
"""
_FORGET = """
DELETE FROM penstock.replay_items item
 USING (SELECT one.replay_id, one.dead_id FROM penstock.replays replay
          JOIN penstock.replay_items one USING (replay_id)
         WHERE replay.ended_at < now() - %s AND replay.waiting = 0 LIMIT %s) AS old
 WHERE item.replay_id = old.replay_id AND item.dead_id = old.dead_id
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one go of preparing came to: letters noted, the place where the next begins, and whether there is one."""

    noted: int
    place: tuple[datetime, UUID] | None
    is_last: bool


def note_letters(
    connection: psycopg.Connection, replay: Replay, selection: Selection, place: tuple[datetime, UUID] | None
) -> Chunk:
    """Note the next letters of a replay behind `place`, of those that were archived when it was ordered.

    Raises:
        psycopg.Error: as any statement.
    """
    outside, parameters = selection.outside()
    inside, more = selection.inside()
    died_at, dead_id = place or (None, None)
    own: dict[str, Any] = {"r_replay_id": replay.replay_id, "r_created_at": replay.created_at}
    own |= {"r_died_at": died_at, "r_dead_id": dead_id, "r_limit": CHUNK_LETTERS, "r_total": replay.total}
    contents = "" if inside == "true" else ", payload, search"
    behind = "" if place is None else _BEHIND
    statement = _NOTE.format(outside=outside, inside=inside, contents=contents, behind=behind)
    row = connection.execute(statement.encode(), {**parameters, **more, **own}).fetchone()
    if row is None:
        return Chunk(0, place, is_last=True)
    walked, noted, last_died_at, last_dead_id = row
    return Chunk(noted, (last_died_at, last_dead_id), is_last=walked < CHUNK_LETTERS)


def pending(
    connection: psycopg.Connection, replay_id: UUID, limit: int, bytes_limit: int
) -> tuple[list[UUID], list[UUID]]:
    """The next letters to be sent, of so many bytes together (one alone may have more), and those that are gone."""
    found: list[UUID] = []
    missing: list[UUID] = []
    total = 0
    for dead_id, message_bytes in connection.execute(_PENDING, (replay_id, limit)).fetchall():
        if message_bytes is None:
            missing.append(dead_id)
            continue
        total += message_bytes
        if found and total > bytes_limit:
            break
        found.append(dead_id)
    return found, missing


def mark(connection: psycopg.Connection, replay_id: UUID, *, sent: Sequence[UUID], skipped: Sequence[UUID]) -> None:
    """Note which letters were sent and skipped."""
    for state, ids in (("sent", sent), ("skipped", skipped)):
        if ids:
            connection.execute(_MARK, (state, replay_id, list(ids)))


def take_outcomes(connection: psycopg.Connection, replay_id: UUID) -> dict[str, int]:
    """Note what became of sent letters since the last time: by how many `done`, `died` and so on change.

    Those whose jobs were lost are `skipped`, and no longer `sent`.
    """
    row = connection.execute(_OUTCOMES, {"replay_id": replay_id}).fetchone()
    done, died, lost = row or (0, 0, 0)
    return {"done": int(done), "died": int(died), "sent": -int(lost), "skipped": int(lost)}


def forget_items(connection: psycopg.Connection, age: timedelta) -> int:
    """Delete some items of replays that ended longer ago than `age`; returns how many."""
    return connection.execute(_FORGET, (age, _FORGET_ITEMS)).rowcount
