"""The loop that notes what became of requeued dead letters, and settles those whose jobs run again by themselves."""

import time
from collections.abc import Callable
from datetime import timedelta

from penstock.producers.queue.records import JobRecords
from penstock.workers.database.transaction import Transactions
from penstock.workers.dead_letters.outcomes import Outcomes
from penstock.workers.dead_letters.resubmitted import Resubmitted
from penstock.workers.scheduler.each_queue import for_each_queue

REVIVED_EVERY = timedelta(seconds=2)
#: A step of the walk over open letters; a million of them take an hour and a half.
WALK_EVERY = timedelta(seconds=5)


class DeadOutcomes:
    """Asks for outcomes as long as any is awaited; with none, a look costs one read of an empty index."""

    name = "dead_outcomes"
    interval = timedelta(milliseconds=500)
    channel = None

    def __init__(
        self,
        transactions: Transactions,
        records: JobRecords,
        resubmitted: Resubmitted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outcomes = Outcomes(transactions, records)
        self._resubmitted = resubmitted
        self._clock = clock
        self._revived_at = self._walk_at = clock()

    def run_once(self) -> bool:
        """Note a round; True where there are more.

        Raises:
            PenstockError: of the families `QUEUE_` and `STORAGE_`.
        """
        more = self._outcomes.run_round()
        if self._clock() >= self._revived_at:
            if any(for_each_queue(self._resubmitted.settle_revived)):
                return True
            self._revived_at = self._clock() + REVIVED_EVERY.total_seconds()
        if self._clock() >= self._walk_at:
            self._resubmitted.settle_effects()
            self._walk_at = self._clock() + WALK_EVERY.total_seconds()
        return more
