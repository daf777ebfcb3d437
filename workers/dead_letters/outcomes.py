"""What became of jobs that were requeued: done, dead again, lost, or still waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.records import JobRecords, JobState
from penstock.workers.database.operator_actions import record_actions
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.listing import listed

ROUND_ROWS = 1_000
#: A job of which no trace is found is lost once its letter was requeued so long ago.
LOST_AFTER = timedelta(minutes=1)
#: The actor of what is noted without an operator.
SCHEDULER = "scheduler"

_FIRST = UUID(int=0)
_WAITING = """
SELECT letter.dead_id, letter.job_id,
       EXISTS (SELECT FROM penstock.effects WHERE effects.job_id = letter.job_id) AS has_effect,
       EXISTS (SELECT FROM penstock.dead_letters later
                WHERE later.job_id = letter.job_id AND later.died_at > letter.died_at) AS died_again,
       letter.resolved_at < now() - %s
       AND NOT EXISTS (SELECT FROM penstock.outbox WHERE outbox.job_id = letter.job_id) AS may_be_lost
  FROM penstock.dead_letters letter
 WHERE letter.became = 'waiting' AND letter.dead_id > %s
 ORDER BY letter.dead_id LIMIT %s
"""
_LOCK = """
SELECT dead_id FROM penstock.dead_letters
 WHERE dead_id = ANY(%s) AND became = 'waiting' ORDER BY dead_id FOR UPDATE SKIP LOCKED
"""
_BECAME = "UPDATE penstock.dead_letters SET became = %s WHERE dead_id = ANY(%s)"
_REOPEN = """
UPDATE penstock.dead_letters
   SET state = 'open', became = NULL, resolved_at = NULL, resolved_by = NULL, replay_id = NULL, edited = NULL,
       resolution_reason = left('requeued by ' || resolved_by || ', and no trace of its job is left', 1000)
 WHERE dead_id = ANY(%s) AND became = 'waiting'
   AND NOT EXISTS (SELECT FROM penstock.outbox WHERE outbox.job_id = dead_letters.job_id)
   AND NOT EXISTS (SELECT FROM penstock.effects WHERE effects.job_id = dead_letters.job_id)
RETURNING dead_id
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A letter that waits, and what PostgreSQL knows of its job."""

    dead_id: UUID
    job_id: UUID
    has_effect: bool
    died_again: bool
    may_be_lost: bool


class Outcomes:
    """Asks for the outcomes of requeued letters, a round at a time, round and round.

    Who died again is told by the archive, in the transaction that brings that death. It is looked for here as well:
    an operator may requeue a letter while a later death of its job arrives. A letter whose job is lost, of which
    neither the queues nor the outbox nor the effects know, is open again.
    """

    def __init__(self, transactions: Transactions, records: JobRecords) -> None:
        self._transactions = transactions
        self._records = records
        self._behind = _FIRST

    def run_round(self) -> bool:
        """Look at the next letters; True where there are more behind them in this turn.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; what was noted stands.
        """
        rows = self._transactions.run(self._read)
        done = {row.dead_id for row in rows if row.has_effect}
        died = {row.dead_id for row in rows if row.died_again and not row.has_effect}
        waiting = {row.job_id: row for row in rows if not row.has_effect and not row.died_again}
        # Kinds without a ledger: the queue is the only one to ask. After PostgreSQL: what left the outbox is there.
        records = self._records.read(list(waiting)) if waiting else {}
        done |= {waiting[job_id].dead_id for job_id, record in records.items() if record.state is JobState.DONE}
        lost = [row.dead_id for job_id, row in waiting.items() if row.may_be_lost and job_id not in records]
        if done or died or lost:
            self._transactions.run(lambda transaction: _note(transaction, sorted(done), sorted(died), lost))
        more = len(rows) == ROUND_ROWS
        self._behind = rows[-1].dead_id if more else _FIRST
        return more

    def _read(self, transaction: Transaction) -> list[_Waiting]:
        with transaction.connection.cursor(row_factory=class_row(_Waiting)) as cursor:
            return cursor.execute(_WAITING, (LOST_AFTER, self._behind, ROUND_ROWS)).fetchall()


def _note(transaction: Transaction, done: Sequence[UUID], died: Sequence[UUID], lost: Sequence[UUID]) -> None:
    connection = transaction.connection
    # In order, as everybody who changes several letters.
    locked = {dead_id for (dead_id,) in connection.execute(_LOCK, ([*done, *died, *lost],)).fetchall()}
    for became, ids in (("done", done), ("died", died)):
        _note_one(connection, became, [dead_id for dead_id in ids if dead_id in locked])
    _reopen(connection, [dead_id for dead_id in lost if dead_id in locked])


def _note_one(connection: psycopg.Connection, became: str, ids: list[UUID]) -> None:
    if ids:
        connection.execute(_BECAME, (became, ids))


def _reopen(connection: psycopg.Connection, ids: list[UUID]) -> None:
    """Have letters wait for an operator again of whose jobs nobody knows any more."""
    reopened = [dead_id for (dead_id,) in connection.execute(_REOPEN, (ids,)).fetchall()] if ids else []
    if reopened:
        target = str(reopened[0]) if len(reopened) == 1 else f"{len(reopened)} dead letters"
        why = "the jobs are in no queue and have no effect"
        record_actions(connection, [audit_entry(SCHEDULER, "dead_letter.reopen", target, why, listed(reopened))])
