"""The loop that brings jobs from the outbox to their queues."""

import logging
import random
from collections.abc import Callable
from datetime import timedelta

import psycopg

from penstock.producers.queue.enqueueing import Offer, Offered
from penstock.producers.queue.records import JobState
from penstock.producers.spans import Parent, start_span
from penstock.producers.storage.outbox import (
    CHANNEL,
    OutboxRow,
    Waiting,
    claim_waiting,
    mark_looked_at,
    mark_relayed,
)
from penstock.schemas.errors import Code
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.scheduler.offering import Answers, Offering
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

#: A job goes to its queue so long before it is due; until then it takes no memory in Redis.
AHEAD = timedelta(hours=1)
ROUND_ROWS = 500
ROUND_BYTES = 8 * 1024 * 1024
#: Rows that could not be relayed are tried again a few at a time: there may be many, and the rest goes first.
HELD_ROWS = 100


class Relay:
    """Claims rows, offers them to their queues and notes the answers, in one transaction a round.

    Killed between the two, the rows are offered again, and the queue knows their jobs. Any number of relays share the
    work: each claims what no other has.

    Args:
        transactions: without tries of their own; the loop tries again.
        hold: how long a row that can't be relayed is left alone, at the least.
        patience: how many times as long, asked each time. In a deploy schedulers of two releases look at the same rows,
            and in step, since the same events wake them: the one that can't relay a row must not always come first.
    """

    name = "outbox"
    #: For what comes due, and where no events arrive.
    interval = timedelta(seconds=1)
    channel = CHANNEL

    def __init__(
        self,
        transactions: Transactions,
        offering: Offering,
        hold: timedelta,
        patience: Callable[[], float] = lambda: random.uniform(1, 2),  # noqa: S311  nothing secret
    ) -> None:
        self._transactions = transactions
        self._offering = offering
        self._hold = hold
        self._patience = patience

    def run_once(self) -> bool:
        """Relay a round of each sort of waiting rows; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; the rows of that round wait.
        """
        rounds = [
            self._run_round(Waiting.NOW, timedelta(0), ROUND_ROWS),
            self._run_round(Waiting.LATER, AHEAD, ROUND_ROWS),
            self._run_round(Waiting.HELD, self._hold * self._patience(), HELD_ROWS),
        ]
        return any(rounds)

    def _run_round(self, which: Waiting, span: timedelta, limit: int) -> bool:
        return self._transactions.run(lambda transaction: self._round(transaction, which, span, limit))

    def _round(self, transaction: Transaction, which: Waiting, span: timedelta, limit: int) -> bool:
        with timed_query("select", "outbox"):
            rows = claim_waiting(transaction.connection, which, span, limit=limit, bytes_limit=ROUND_BYTES)
        if not rows:
            return False
        # Its jobs are parts of other traces: each goes on there, whoever has brought it.
        told = {"messaging.batch.message_count": len(rows)}
        with start_span("relay outbox", attributes=told, parent=Parent.NONE, links=[row.trace for row in rows]):
            answers = self._offering.offer(rows)
            note_answers(transaction.connection, answers)
        if which is not Waiting.HELD:
            _tell_held(answers)
        return len(rows) == limit or sum(len(row.payload) for row in rows) >= ROUND_BYTES


def note_answers(connection: psycopg.Connection, answers: Answers, last_code: Code | None = None) -> None:
    """Note in the outbox what became of rows that were offered; `last_code` for those that their queues have."""
    by_state: dict[str, list[int]] = {"relayed": [], "dead": [], "conflict": []}
    for row, offered in answers.offered:
        by_state[_state_after(row, offered)].append(row.id)
    with timed_query("update", "outbox"):
        mark_relayed(connection, by_state["relayed"], last_code)
        mark_looked_at(connection, by_state["dead"], "dead", None)
        mark_looked_at(connection, by_state["conflict"], "conflict", Code.JOB_CONFLICT)
        for code, rows in answers.held.items():
            mark_looked_at(connection, [row.id for row in rows], "waiting", code)


def _state_after(row: OutboxRow, offered: Offered) -> str:
    if offered.offer is Offer.CONFLICT:
        context = {"job_id": row.job_id, "kind": row.kind, "tenant": row.tenant, "code": Code.JOB_CONFLICT}
        _log.warning("a job of the outbox is known to its queue with another payload", extra=context)
        return "conflict"
    # One that was called back and died again since is for the sweep to find, like any job that dies after its relay.
    return "dead" if offered.state is JobState.DEAD and row.revives is None else "relayed"


def _tell_held(answers: Answers) -> None:
    for code, rows in answers.held.items():
        kinds = ", ".join(sorted({row.kind for row in rows})[:10])
        _log.warning("%d row(s) of the outbox can't be relayed now: %s", len(rows), kinds, extra={"code": code})
