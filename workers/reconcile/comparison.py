"""Both sides held against each other: what Redis says of jobs, and the effects that PostgreSQL has."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from penstock.producers.queue.locating import ARCHIVED
from penstock.producers.queue.records import JobRecords, JobState
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.reconcile.effects import Effects
from penstock.workers.reconcile.report import Fault
from penstock.workers.reconcile.sightings import Record

#: Kinds whose every done job leaves a row in a ledger. Of others nobody can say whether a missing one is a fault.
LEDGER_KINDS = frozenset({str(WriteSubmissionBatch.kind)})

_WAITING = frozenset({JobState.READY, JobState.SCHEDULED, JobState.LEASED, JobState.PARKED})


class Comparison:
    """Compares jobs with their effects; each finding is seen twice before it is told.

    Attributes:
        ack_pending: jobs that were met waiting or held while their effect is committed: a worker died before it could
            say so, and the next one finds the effect.
    """

    def __init__(self, effects: Effects, records: JobRecords, ledger_kinds: frozenset[str] = LEDGER_KINDS) -> None:
        self._effects = effects
        self._records = records
        self._ledger_kinds = ledger_kinds
        self.ack_pending = 0

    def compare(self, records: Sequence[Record]) -> Iterator[Fault]:
        """Give the jobs that are done without an effect, or archived without a dead letter.

        Raises:
            PenstockError: of the `QUEUE_` family.
            psycopg.Error: whatever PostgreSQL says.
        """
        yield from self._without_letter(records)
        states = {_uuid(record.job_id): record.state for record in records if record.kind in self._ledger_kinds}
        done = [job_id for job_id, state in states.items() if job_id and state == JobState.DONE]
        waiting = [job_id for job_id, state in states.items() if job_id and state in _WAITING]
        self.ack_pending += len(self._effects.committed(waiting))
        # An effect is committed before its job is done, so it is asked for after the record was read: here, and again.
        committed = self._effects.committed(done)
        records_now = self._records.read([job_id for job_id in done if job_id not in committed])
        still = [job_id for job_id, record in records_now.items() if record.state is JobState.DONE]
        committed = self._effects.committed(still)
        for job_id in still:
            if job_id not in committed:
                yield Fault(
                    str(job_id), records_now[job_id].queue, "it is done, and PostgreSQL has no effect under its id"
                )

    def _without_letter(self, records: Sequence[Record]) -> Iterator[Fault]:
        archived = [found for found in (_uuid(one.job_id) for one in records if one.state == ARCHIVED) if found]
        # A letter is committed before its job is archived.
        lettered = self._effects.lettered(archived)
        records_now = self._records.read([job_id for job_id in archived if job_id not in lettered])
        still = [job_id for job_id, record in records_now.items() if record.state is JobState.DEAD]
        lettered = self._effects.lettered(still)
        for job_id in still:
            if job_id not in lettered:
                told = "it is archived as a dead letter, and PostgreSQL has none of it"
                yield Fault(str(job_id), records_now[job_id].queue, told)

    def outbox(self, age: timedelta) -> Iterator[Fault]:
        """Give the jobs that were relayed from the outbox longer ago than `age`, and that neither side knows.

        Raises:
            PenstockError: of the `QUEUE_` family.
            psycopg.Error: whatever PostgreSQL says.
        """
        for job_ids in self._effects.relayed_without_effect(age):
            unknown = self._unknown(job_ids)
            # Between the two questions a job may have been done, and its record may have gone.
            committed = self._effects.committed(unknown) | self._effects.lettered(unknown)
            for job_id in self._unknown([job_id for job_id in unknown if job_id not in committed]):
                yield Fault(
                    str(job_id), None, "it was relayed from the outbox, and neither Redis nor an effect knows it"
                )

    def _unknown(self, job_ids: list[UUID]) -> list[UUID]:
        known = self._records.read(job_ids)
        return [job_id for job_id in job_ids if job_id not in known]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
