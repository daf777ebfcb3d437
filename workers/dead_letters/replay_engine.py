"""What moves replays on: notes their letters, sends them, takes outcomes, and stops where the rules say so.

Each step is one transaction under the lock of its replay's row: letters, their items and the outbox change together, so
whoever is killed leaves a replay that the next scheduler goes on with, and no letter is sent twice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import PenstockError
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.decisions import LetterDecisions
from penstock.workers.dead_letters.replay import REPLAY_COLUMNS, Replay, ReplayStatus, Selection, replay_of
from penstock.workers.dead_letters.replay_items import Chunk, forget_items, mark, note_letters, pending, take_outcomes
from penstock.workers.dead_letters.replay_rules import (
    Allowance,
    Verdict,
    allowed,
    judge,
    letters_to_send,
    told_done,
    told_progress,
)

_log = logging.getLogger(__name__)

#: The actor of what a replay does by itself.
SCHEDULER = "scheduler"
#: Letters that one step sends at the most, and the bytes of their messages.
STEP_LETTERS = 500
STEP_BYTES = 16 * 1024 * 1024
#: Items of a replay are of no more use some time after its end; its counts stay.
KEEP_ITEMS = timedelta(days=7)

_ACTIVE = """
SELECT replay_id, status FROM penstock.replays
 WHERE status IN ('preparing', 'canary', 'running') OR waiting > 0 ORDER BY created_at
"""
_LOCK = f"""
SELECT {REPLAY_COLUMNS}, prepared_died_at, prepared_dead_id, resumes_to, tokens, tokens_at, canary_until,
       clock_timestamp() AS now
  FROM penstock.replays WHERE replay_id = %s FOR UPDATE SKIP LOCKED
"""
_SAVE = """
UPDATE penstock.replays
   SET status = %(status)s, resumes_to = %(resumes_to)s, prepared_died_at = %(died_at)s, prepared_dead_id = %(dead_id)s,
       total = %(total)s, sent = %(sent)s, done = %(done)s, died = %(died)s, skipped = %(skipped)s,
       tokens = %(tokens)s, tokens_at = %(tokens_at)s, canary_until = %(canary_until)s, started_at = %(started_at)s,
       ended_at = %(ended_at)s, told = %(told)s
 WHERE replay_id = %(replay_id)s
"""


@dataclass(slots=True)
class _Stand:
    """A replay under its lock, as this step changes it. `now` is PostgreSQL's clock; `more`: another step at once."""

    replay: Replay
    now: datetime
    place: tuple[datetime, UUID] | None
    allowance: Allowance | None
    canary_until: datetime | None
    resumes_to: ReplayStatus | None = None
    more: bool = False

    def count(self, **added: int) -> None:
        counts: dict[str, Any] = {name: getattr(self.replay, name) + number for name, number in added.items()}
        self.replay = replace(self.replay, **counts)
        self.replay = replace(self.replay, waiting=self.replay.sent - self.replay.done - self.replay.died)


class ReplayEngine:
    """Moves replays on. Any number may work at once: each takes the replays that no other has locked.

    Args:
        canary_wait: the longest wait for the outcomes of a canary.
    """

    def __init__(self, transactions: Transactions, decisions: LetterDecisions, canary_wait: timedelta) -> None:
        self._transactions = transactions
        self._decisions = decisions
        self._canary_wait = canary_wait

    def active(self) -> Sequence[tuple[UUID, bool]]:
        """The replays that have something to do, the oldest first; False where only outcomes are awaited.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        rows = self._transactions.run(lambda transaction: transaction.connection.execute(_ACTIVE).fetchall())
        return [(replay_id, status in _GOING_ON) for replay_id, status in rows]

    def step(self, replay_id: UUID) -> bool:
        """Do a bounded piece of a replay; True where there is more to do at once.

        What can't be done for a reason that does not pass by itself pauses the replay, with a sentence.

        Raises:
            PenstockError: of the family `STORAGE_`; nothing of this step is done then, or all of it.
        """
        try:
            return self._transactions.run(lambda transaction: self._step(transaction, replay_id))
        except PenstockError as error:
            if error.code.startswith("STORAGE_"):
                raise
            told = f"It can't go on: {error.message}."
            _log.warning("a replay is paused: %s", error.message, extra={"code": error.code})
            return self._transactions.run(lambda transaction: self._give_up(transaction, replay_id, told))

    def forget(self) -> int:
        """Delete some items of replays that ended long ago; returns how many.

        Raises:
            PenstockError: of the family `STORAGE_`.
        """
        return self._transactions.run(lambda transaction: forget_items(transaction.connection, KEEP_ITEMS))

    def _step(self, transaction: Transaction, replay_id: UUID) -> bool:
        connection = transaction.connection
        stand = _lock(connection, replay_id)
        if stand is None:
            return False
        before = stand.replay
        if before.status is ReplayStatus.PREPARING:
            self._prepare(connection, stand)
        else:
            if before.waiting:
                stand.count(**take_outcomes(connection, replay_id))
            if stand.canary_until is None and before.status is ReplayStatus.CANARY:
                stand.canary_until = stand.now + self._canary_wait
            self._judge(connection, stand)
            self._send(transaction, stand)
            # The last ones may all have been skipped.
            self._judge(connection, stand)
        if stand.replay.status in _GOING_ON:
            stand.replay = replace(stand.replay, told=told_progress(stand.replay))
        _save(connection, stand)
        return stand.more

    def _give_up(self, transaction: Transaction, replay_id: UUID, told: str) -> bool:
        stand = _lock(transaction.connection, replay_id)
        if stand is not None and stand.replay.status in _GOING_ON:
            _change(transaction.connection, stand, Verdict(ReplayStatus.PAUSED, told))
            _save(transaction.connection, stand)
        return False

    def _prepare(self, connection: psycopg.Connection, stand: _Stand) -> None:
        replay = stand.replay
        chunk: Chunk = note_letters(connection, replay, Selection.of(replay.selection), stand.place)
        stand.place = chunk.place
        stand.count(total=chunk.noted)
        stand.more = True
        if not chunk.is_last:
            return
        if not stand.replay.total:
            _change(connection, stand, Verdict(ReplayStatus.DONE, told_done(stand.replay)))
            return
        stand.replay = replace(stand.replay, started_at=stand.now)
        following = ReplayStatus.CANARY if replay.canary else ReplayStatus.RUNNING
        _change(connection, stand, Verdict(following, f"{stand.replay.total:,} letters are noted."))

    def _judge(self, connection: psycopg.Connection, stand: _Stand) -> None:
        verdict = judge(stand.replay, stand.now, stand.canary_until)
        if verdict is not None:
            _change(connection, stand, verdict)

    def _send(self, transaction: Transaction, stand: _Stand) -> None:
        replay = stand.replay
        if replay.status not in _SENDING:
            return
        stand.allowance = allowed(replay, stand.allowance, stand.now)
        wanted = letters_to_send(replay, stand.allowance.tokens)
        if not wanted:
            return
        ids, missing = pending(transaction.connection, replay.replay_id, min(wanted, STEP_LETTERS), STEP_BYTES)
        decided = self._decisions.requeue_in(
            transaction, ids, replay.created_by, replay.reason, replay_id=replay.replay_id
        )
        skipped = [*missing, *decided.skipped]
        mark(transaction.connection, replay.replay_id, sent=decided.done, skipped=skipped)
        stand.count(sent=len(decided.done), skipped=len(skipped))
        if replay.status is ReplayStatus.CANARY:
            stand.canary_until = stand.now + self._canary_wait
        else:
            stand.allowance = replace(stand.allowance, tokens=stand.allowance.tokens - len(decided.done))
        stand.more = bool(ids or missing) and letters_to_send(stand.replay, stand.allowance.tokens) > 0


_SENDING = frozenset({ReplayStatus.CANARY, ReplayStatus.RUNNING})
_GOING_ON = _SENDING | {ReplayStatus.PREPARING}


def _lock(connection: psycopg.Connection, replay_id: UUID) -> _Stand | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_LOCK.encode(), (replay_id,)).fetchone()
    if row is None:
        return None
    died_at, tokens_at = row["prepared_died_at"], row["tokens_at"]
    return _Stand(
        replay=replay_of(row),
        now=row["now"],
        place=None if died_at is None else (died_at, row["prepared_dead_id"]),
        allowance=None if tokens_at is None else Allowance(row["tokens"], tokens_at),
        canary_until=row["canary_until"],
        resumes_to=row["resumes_to"] and ReplayStatus(row["resumes_to"]),
    )


def _change(connection: psycopg.Connection, stand: _Stand, verdict: Verdict) -> None:
    """Change the status, and record that and why."""
    if verdict.status is ReplayStatus.PAUSED:
        stand.resumes_to = stand.replay.status
    ended_at = stand.now if verdict.status.has_ended else None
    stand.replay = replace(stand.replay, status=verdict.status, told=verdict.told, ended_at=ended_at)
    replay = stand.replay
    details = {"by": replay.created_by, **{name: getattr(replay, name) for name in _COUNTS}}
    action = f"replay.{verdict.status}"
    record_actions(connection, [audit_entry(SCHEDULER, action, str(replay.replay_id), verdict.told, details)])


_COUNTS = ("total", "sent", "done", "died", "skipped")


def _save(connection: psycopg.Connection, stand: _Stand) -> None:
    replay = stand.replay
    died_at, dead_id = stand.place or (None, None)
    values: dict[str, Any] = {name: getattr(replay, name) for name in (*_COUNTS, "started_at", "ended_at", "told")}
    values |= {"replay_id": replay.replay_id, "status": str(replay.status), "canary_until": stand.canary_until}
    values |= {"died_at": died_at, "dead_id": dead_id, "resumes_to": stand.resumes_to and str(stand.resumes_to)}
    values["tokens"] = 0 if stand.allowance is None else stand.allowance.tokens
    values["tokens_at"] = None if stand.allowance is None else stand.allowance.at
    connection.execute(_SAVE, values)
