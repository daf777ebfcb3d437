"""The loop that asks what became of relayed jobs, and puts those into their queue again that got lost."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from enum import Enum, auto
from uuid import UUID

from penstock.producers.queue.enqueueing import Offer
from penstock.producers.queue.records import JobRecord, JobRecords, JobState
from penstock.producers.storage.outbox_sweep import (
    RelayedRow,
    claim_relayed,
    claim_unrevived,
    delete_rows,
    find_effects,
    find_lettered,
    read_rows,
    touch_rows,
)
from penstock.schemas.errors import Code
from penstock.workers.database.transaction import Transaction, Transactions
from penstock.workers.scheduler.offering import Offering
from penstock.workers.scheduler.relay import note_answers
from penstock.workers.telemetry.metrics import JOBS_REENQUEUED
from penstock.workers.telemetry.queries import timed_query

_log = logging.getLogger(__name__)

ROUND_ROWS = 500
#: Payload of jobs that one round enqueues again.
ROUND_BYTES = 8 * 1024 * 1024
#: How often it looks for rows to ask about, at the least.
LONGEST_INTERVAL = timedelta(seconds=15)


class Verdict(Enum):
    """What is to be done with a row."""

    #: Its job's effect is committed.
    EFFECT = auto()
    #: Redis says done, and there is nobody else to ask.
    BELIEVED = auto()
    #: Redis says done, and no effect is there: PostgreSQL lost a commit, or the kind has no ledger after all.
    UNDONE = auto()
    #: Its queue has the job, which is not done.
    QUEUED = auto()
    #: Its queue has the job as a dead letter, or had it and an operator discarded it.
    DEAD = auto()
    #: Redis does not know the job, and no effect is there.
    LOST = auto()


def judge(row: RelayedRow, record: JobRecord | None, effect: bool, ledger: bool) -> Verdict:
    """What is to be done with a row. `ledger`: the effects of its kind can be asked for."""
    if effect:
        return Verdict.EFFECT
    if record is None:
        return Verdict.DEAD if row.state == "dead" else Verdict.LOST
    if record.state is JobState.DEAD:
        return Verdict.DEAD
    if record.state is not JobState.DONE:
        return Verdict.QUEUED
    # It is run again once; done a second time and no effect: then its effect is another job's, such as that of
    # the same batch under another id, or its kind keeps none.
    return Verdict.UNDONE if ledger and row.last_code != Code.JOB_UNACCOUNTED else Verdict.BELIEVED


class Sweep:
    """Ends what durability `redis` leaves open: a job of the outbox has an effect or a dead letter, or runs again.

    Args:
        transactions: without tries of their own; the loop tries again.
        age: of a relayed row when it is first asked about, and between two askings.
    """

    name = "sweep"
    channel = None

    def __init__(self, transactions: Transactions, offering: Offering, records: JobRecords, age: timedelta) -> None:
        self._transactions = transactions
        self._offering = offering
        self._records = records
        self._age = age
        self.interval = min(age, LONGEST_INTERVAL)

    def run_once(self) -> bool:
        """Ask about a round of rows; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`; nothing has changed but what may be done twice.
        """
        relayed = self._transactions.run(lambda transaction: self._round(transaction, "relayed"))
        dead = self._transactions.run(lambda transaction: self._round(transaction, "dead"))
        unrevived = self._transactions.run(self._revive)
        return relayed or dead or unrevived

    def _revive(self, transaction: Transaction) -> bool:
        """Offer jobs again that were called back from the dead while a scheduler of an earlier release relayed."""
        rows = claim_unrevived(transaction.connection, self._age, ROUND_ROWS)
        now = _first_bytes(rows)
        if now:
            answers = self._offering.offer(read_rows(transaction.connection, _ids(now)))
            note_answers(transaction.connection, answers)
        return len(now) < len(rows) or len(rows) == ROUND_ROWS

    def _round(self, transaction: Transaction, state: str) -> bool:
        connection = transaction.connection
        with timed_query("select", "outbox"):
            rows = claim_relayed(connection, state, self._age, ROUND_ROWS)
        if not rows:
            return False
        job_ids = [row.job_id for row in rows]
        # Redis first: what it says is done was committed before, so the look at the effects sees it.
        records = self._records.read(job_ids)
        judged = self._judge(rows, records, find_effects(connection, job_ids))
        _believe_letters(judged, find_lettered(connection, [row.job_id for row in judged[Verdict.LOST]]))
        gone = judged[Verdict.EFFECT] + judged[Verdict.BELIEVED]
        with timed_query("delete", "outbox"):
            delete_rows(connection, _ids(gone))
        touch_rows(connection, _ids(judged[Verdict.QUEUED]), "relayed")
        touch_rows(connection, _ids(judged[Verdict.DEAD]), "dead")
        left = self._enqueue_again(transaction, judged[Verdict.LOST], revive=())
        left += self._enqueue_again(transaction, judged[Verdict.UNDONE], revive=(JobState.DONE,))
        return left > 0 or len(rows) == ROUND_ROWS

    def _judge(
        self, rows: Sequence[RelayedRow], records: Mapping[UUID, JobRecord], effects: AbstractSet[UUID]
    ) -> dict[Verdict, list[RelayedRow]]:
        judged: dict[Verdict, list[RelayedRow]] = {verdict: [] for verdict in Verdict}
        for row in rows:
            facts = self._offering.kinds.get(row.kind)
            ledger = facts is not None and facts.ledger
            judged[judge(row, records.get(row.job_id), row.job_id in effects, ledger)].append(row)
        return judged

    def _enqueue_again(
        self, transaction: Transaction, rows: Sequence[RelayedRow], *, revive: Collection[JobState]
    ) -> int:
        """Put the first of these jobs into their queues again; returns how many are left for the next round."""
        now = _first_bytes(rows)
        if not now:
            return 0
        connection = transaction.connection
        answers = self._offering.offer(read_rows(connection, _ids(now)), revive=revive)
        note_answers(connection, answers, Code.JOB_UNACCOUNTED if revive else None)
        again = [row for row, told in answers.offered if told.offer in (Offer.ACCEPTED, Offer.REVIVED)]
        if again:
            kinds = ", ".join(sorted({row.kind for row in again})[:10])
            _log.warning("%d job(s) of the outbox had no effect and are enqueued again: %s", len(again), kinds)
            labels = [(str(self._offering.queue_of(row.kind, row.queue)), row.kind) for row in again]
            transaction.after_commit(_counting(labels))
        return len(rows) - len(now)


def _believe_letters(judged: dict[Verdict, list[RelayedRow]], lettered: AbstractSet[UUID]) -> None:
    """A job that Redis does not know any more is not lost where PostgreSQL has its dead letter."""
    judged[Verdict.DEAD] += [row for row in judged[Verdict.LOST] if row.job_id in lettered]
    judged[Verdict.LOST] = [row for row in judged[Verdict.LOST] if row.job_id not in lettered]


def _first_bytes(rows: Sequence[RelayedRow]) -> list[RelayedRow]:
    first: list[RelayedRow] = []
    total = 0
    for row in rows:
        if total >= ROUND_BYTES:
            break
        first.append(row)
        total += row.payload_bytes
    return first


def _ids(rows: Sequence[RelayedRow]) -> list[int]:
    return [row.id for row in rows]


def _counting(labels: Sequence[tuple[str, str]]) -> Callable[[], None]:
    def count() -> None:
        for queue, kind in labels:
            JOBS_REENQUEUED.labels(queue, kind).inc()

    return count
