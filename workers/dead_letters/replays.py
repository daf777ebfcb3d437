"""The replays that operators ordered: `penstock.replays`. What moves them on is `replay_engine`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from penstock.producers.queue.audit import audit_entry
from penstock.schemas.errors import Code, ConflictError, NotFoundError
from penstock.workers.database.operator_actions import record_actions, require_reason
from penstock.workers.database.pages import Page, read_cursor, require_limit, write_cursor
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.dead_letters.listing import listed
from penstock.workers.dead_letters.replay import (
    REPLAY_COLUMNS,
    Replay,
    ReplayPlan,
    ReplayStatus,
    Selection,
    replay_of,
)
from penstock.workers.dead_letters.replay_plan import DryRun, DryRuns
from penstock.workers.dead_letters.replay_rules import told_halted, told_progress

#: What wakes the schedulers.
CHANNEL = "penstock_replays"
_ORDER = "replays newest first"

_INSERT = """
INSERT INTO penstock.replays (replay_id, created_by, reason, selection, canary, pace_per_second, stop_share, told)
VALUES (%(replay_id)s, %(by)s, %(reason)s, %(selection)s, %(canary)s, %(pace)s, %(stop)s, %(told)s)
    ON CONFLICT DO NOTHING
"""
_FIND = f"SELECT {REPLAY_COLUMNS} FROM penstock.replays WHERE replay_id = %s"
_PAUSE = """
UPDATE penstock.replays SET status = 'paused', resumes_to = status, told = %(told)s WHERE replay_id = %(replay_id)s
"""
# A canary is awaited anew, and a pause has saved up no pace.
_RESUME = """
UPDATE penstock.replays
   SET status = resumes_to, resumes_to = NULL, canary_until = NULL, tokens = 0, tokens_at = NULL, told = %(told)s
 WHERE replay_id = %(replay_id)s
"""
_CANCEL = """
UPDATE penstock.replays SET status = 'cancelled', resumes_to = NULL, ended_at = now(), told = %(told)s
 WHERE replay_id = %(replay_id)s
"""
_MISSING = """
SELECT given.dead_id FROM unnest(%s::uuid[]) AS given (dead_id)
 WHERE NOT EXISTS (SELECT FROM penstock.dead_letters letter WHERE letter.dead_id = given.dead_id) LIMIT 1
"""


class Replays:
    """Orders replays, looks at them, pauses, resumes and cancels them. Safe to share between threads.

    Args:
        dry_runs: what tells beforehand what a replay would do.
    """

    def __init__(self, transactions: Transactions, dry_runs: DryRuns) -> None:
        self._transactions = transactions
        self._dry_runs = dry_runs

    def dry_run(self, plan: ReplayPlan) -> DryRun:
        """What a replay would do now; nothing is sent. The reason may be missing still.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where the plan can't be one.
            PenstockError: of the family `STORAGE_`.
        """
        return self._dry_runs.of(plan.selection())

    def start(self, plan: ReplayPlan) -> Replay:
        """Order a replay of the letters that are open now; the schedulers do the rest.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where the plan can't be one, or lacks a name or reason.
            NotFoundError: `JOB_DEAD_LETTER_NOT_FOUND` for an id that is none.
            PenstockError: of the family `STORAGE_`; nothing is ordered then, unless the answer to COMMIT was lost.
        """
        by, reason = require_reason(plan.by, plan.reason)
        selection, replay_id = plan.selection(), uuid4()
        chosen: dict[str, Any] = listed(selection.ids) if selection.ids else {"filter": selection.as_dict()}
        details = chosen | {name: getattr(plan, name) for name in ("canary", "pace_per_second", "stop_share")}
        entry = audit_entry(by, "replay.start", str(replay_id), reason, details)
        values: dict[str, Any] = {"replay_id": replay_id, "by": by, "reason": reason}
        values |= {"canary": plan.canary, "pace": plan.pace_per_second, "stop": plan.stop_share}
        values |= {"selection": Jsonb(selection.as_dict()), "told": "Its letters are being noted."}

        def work(transaction: Transaction) -> Replay:
            connection = transaction.connection
            _require_known(connection, selection)
            connection.execute(_INSERT, values)
            record_actions(connection, [entry])
            connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
            return _find(connection, replay_id)

        return self._transactions.run(work)

    def show(self, replay_id: UUID) -> Replay:
        """A replay as it stands.

        Raises:
            NotFoundError: `JOB_REPLAY_NOT_FOUND`.
            PenstockError: of the family `STORAGE_`.
        """
        return self._transactions.run(lambda transaction: _find(transaction.connection, replay_id))

    def list(self, limit: int = 50, cursor: str | None = None) -> Page[Replay]:
        """A page of all replays, the newest first.

        Raises:
            InvalidInputError: `REQUEST_FILTER_INVALID` for a limit or cursor that is none.
            PenstockError: of the family `STORAGE_`.
        """
        require_limit(limit)
        place = (None, None) if cursor is None else read_cursor(cursor, _ORDER, datetime, UUID)
        found = self._transactions.run(lambda transaction: _page(transaction.connection, limit + 1, *place))
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else write_cursor(_ORDER, last.created_at, last.replay_id)
        return Page(found[:limit], following)

    def pause(self, replay_id: UUID, by: str, reason: str) -> Replay:
        """Send nothing more for now; what was sent goes on. One that is paused stays so, and nothing is recorded.

        Raises:
            InvalidInputError: `REQUEST_USAGE` without name or reason.
            NotFoundError: `JOB_REPLAY_NOT_FOUND`.
            ConflictError: `JOB_REPLAY_ENDED`.
            PenstockError: of the family `STORAGE_`.
        """
        return self._change(replay_id, "pause", by, reason)

    def resume(self, replay_id: UUID, by: str, reason: str) -> Replay:
        """Go on with a paused replay where it was; nothing changes where it is not paused.

        Raises:
            PenstockError: as `pause`.
        """
        return self._change(replay_id, "resume", by, reason)

    def cancel(self, replay_id: UUID, by: str, reason: str) -> Replay:
        """Send nothing more, ever; what was sent goes on, and the others stay open.

        Raises:
            PenstockError: as `pause`.
        """
        return self._change(replay_id, "cancel", by, reason)

    def _change(self, replay_id: UUID, verb: str, by: str, reason: str) -> Replay:
        by, reason = require_reason(by, reason)
        entry = audit_entry(by, f"replay.{verb}", str(replay_id), reason)

        def work(transaction: Transaction) -> Replay:
            connection = transaction.connection
            found = _find(connection, replay_id, " FOR UPDATE")
            if not _changes(found, verb):
                return found
            told = {
                "pause": told_halted(found, "Paused", by, reason),
                "resume": told_progress(found),
                "cancel": told_halted(found, "Cancelled", by, reason),
            }[verb]
            statement = {"pause": _PAUSE, "resume": _RESUME, "cancel": _CANCEL}[verb]
            connection.execute(statement, {"replay_id": replay_id, "told": told})
            record_actions(connection, [entry])
            connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
            return _find(connection, replay_id)

        return self._transactions.run(work)


def _changes(replay: Replay, verb: str) -> bool:
    """Whether the verb changes it.

    Raises:
        ConflictError: `JOB_REPLAY_ENDED`.
    """
    if replay.status is ReplayStatus.CANCELLED and verb == "cancel":
        return False
    if replay.status.has_ended:
        raise ConflictError(Code.JOB_REPLAY_ENDED, f"the replay {replay.replay_id} is {replay.status} already")
    is_paused = replay.status is ReplayStatus.PAUSED
    return verb == "cancel" or is_paused == (verb == "resume")


def _require_known(connection: psycopg.Connection, selection: Selection) -> None:
    missing = connection.execute(_MISSING, (list(selection.ids),)).fetchone() if selection.ids else None
    if missing is not None:
        raise NotFoundError(Code.JOB_DEAD_LETTER_NOT_FOUND, f"there is no dead letter {missing[0]}")


def _find(connection: psycopg.Connection, replay_id: UUID, lock: str = "") -> Replay:
    with connection.cursor(row_factory=dict_row) as cursor:
        row: Mapping[str, Any] | None = cursor.execute((_FIND + lock).encode(), (replay_id,)).fetchone()
    if row is None:
        raise NotFoundError(Code.JOB_REPLAY_NOT_FOUND, f"there is no replay {replay_id}")
    return replay_of(row)


def _page(
    connection: psycopg.Connection, rows: int, created_at: datetime | None, replay_id: UUID | None
) -> list[Replay]:
    behind = "" if created_at is None else "WHERE (created_at, replay_id) < (%(created_at)s, %(replay_id)s)"
    statement = f"""
        SELECT {REPLAY_COLUMNS} FROM penstock.replays {behind}
         ORDER BY created_at DESC, replay_id DESC LIMIT %(rows)s
    """
    parameters = {"created_at": created_at, "replay_id": replay_id, "rows": rows}
    with connection.cursor(row_factory=dict_row) as cursor:
        return [replay_of(row) for row in cursor.execute(statement.encode(), parameters).fetchall()]
