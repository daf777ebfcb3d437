"""Waits until batches are committed or dead, and counts what became of their rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg

from penstock.producers import Producer
from penstock.producers.queue.records import JobRecord, JobState
from penstock.producers.storage.batches import StoredBatch, find_batches
from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.schemas.identity import job_id
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.handover.plan import Part

#: Time between two looks: short at first, for small files, then gentle.
_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(milliseconds=500)
#: Batches that one look asks for.
_PAGE = 500


@dataclass(slots=True)
class Tally:
    """What became of a file's rows so far. `duplicates` counts those of batches known before, too."""

    batches: int
    stored: int = 0
    rejected: int = 0
    duplicates: int = 0
    erased: int = 0
    settled_rows: int = 0
    settled_batches: int = 0
    dead: list[JobRecord] = field(default_factory=list)

    def count(self, stored: StoredBatch) -> None:
        """Add a committed batch."""
        self.stored += stored.stored
        self.rejected += stored.rejected
        self.duplicates += stored.duplicates
        self.erased += stored.erased
        self._settle(stored.rows)

    def count_known(self, part: Part) -> None:
        """Add a batch that was committed before this run offered it."""
        self.duplicates += part.rows
        self._settle(part.rows)

    def count_dead(self, part: Part, record: JobRecord) -> None:
        """Add a batch whose job is dead."""
        self.dead.append(record)
        self._settle(part.rows)

    def _settle(self, rows: int) -> None:
        self.settled_rows += rows
        self.settled_batches += 1

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """The result as `submit --wait --json` prints it."""
        return {
            "batches": self.batches,
            "stored": self.stored,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            **({"erased": self.erased} if self.erased else {}),
            "seconds": round(seconds, 3),
        }


class Waiter:
    """Looks at the ledger, and for dead jobs at their records, until every part is settled."""

    def __init__(
        self,
        connection: psycopg.Connection,
        producer: Producer,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._producer = producer
        self._sleep = sleep
        self._clock = clock

    def wait(
        self, parts: Sequence[Part], tally: Tally, limit: timedelta | None, on_progress: Callable[[Tally], None]
    ) -> None:
        """Settle `parts` into `tally`.

        Raises:
            UnavailableError: `REQUEST_TIMEOUT` where `limit` passes first; the work goes on.
            PenstockError: of the `STORAGE_` or `QUEUE_` family.
        """
        waiting = {part.batch_id: part for part in parts}
        ends_at = None if limit is None else self._clock() + limit.total_seconds()
        pause = _FIRST_PAUSE
        while True:
            before = len(waiting)
            self._look(waiting, tally)
            on_progress(tally)
            if not waiting:
                return
            if ends_at is not None and self._clock() >= ends_at:
                raise UnavailableError(Code.REQUEST_TIMEOUT, f"{len(waiting)} batches are not settled yet")
            pause = _FIRST_PAUSE if len(waiting) < before else min(pause * 1.5, _LONGEST_PAUSE)
            self._sleep(pause.total_seconds())

    def _look(self, waiting: dict[str, Part], tally: Tally) -> None:
        page = list(waiting)[:_PAGE]
        for batch_id, stored in find_batches(self._connection, self._producer.tenant, page).items():
            del waiting[batch_id]
            tally.count(stored)
        unsettled = [batch_id for batch_id in page if batch_id in waiting]
        for batch_id, record in self._dead(unsettled).items():
            tally.count_dead(waiting.pop(batch_id), record)

    def _dead(self, batch_ids: list[str]) -> dict[str, JobRecord]:
        ids = {self._job_id(batch_id): batch_id for batch_id in batch_ids}
        records = self._producer.jobs(list(ids)) if ids else {}
        return {ids[job]: record for job, record in records.items() if record.state is JobState.DEAD}

    def _job_id(self, batch_id: str) -> Any:
        return job_id(self._producer.tenant, WriteSubmissionBatch.kind, batch_id)


def require_none_dead(tally: Tally) -> None:
    """Raise for the first dead job, telling how many there are.

    Raises:
        PenstockError: with the code that the job died of.
    """
    if not tally.dead:
        return
    first = tally.dead[0]
    code = Code(first.code) if first.code in set(Code) else Code.INTERNAL_ERROR
    others = f" ({len(tally.dead)} batches are dead)" if len(tally.dead) > 1 else ""
    raise PenstockError(code, f"{first.message}{others}", details={"dead": [str(job.job_id) for job in tally.dead]})
