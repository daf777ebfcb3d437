"""The actor of `submission_batch.write`."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from penstock.schemas.errors import ConflictError, InvalidInputError, NotFoundError
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.database.ledger import note_repeated_effect
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Dead, Done, Job, Outcome, Postpone
from penstock.workers.registry import Policy, Registration, Resources
from penstock.workers.submissions.batch import BatchReader
from penstock.workers.submissions.instants import months_of
from penstock.workers.submissions.store import PreparedBatch
from penstock.workers.submissions.writing import WriteResult, write_batch, write_new_batches
from penstock.workers.telemetry.context import note_of_job
from penstock.workers.telemetry.metrics import BATCHES_REPEATED, SUBMISSIONS
from penstock.workers.telemetry.traces import for_job, is_sampled

_log = logging.getLogger(__name__)

#: How long a batch waits whose worker lacks the keys that erased people are named with.
KEYS_AWAITED = timedelta(seconds=30)


class WriteSubmissionBatches:
    """Stores the good rows of batches, keeps the others as rejections, all in the transaction that it is given."""

    def __init__(self, reader: BatchReader, partitions: Partitions, token_keys: str | None = None) -> None:
        self._reader = reader
        self._partitions = partitions
        self._token_keys = token_keys

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        """Write several batches. One that can't be written is dead and leaves the others alone."""
        # All that needs no lock comes before the transaction begins.
        read = [self._read(job) for job in jobs]
        batches = [(place, batch) for place, batch in enumerate(read) if isinstance(batch, PreparedBatch)]
        self._partitions.ensure(months_of(instant for _, batch in batches for instant in batch.instants_us))
        # In the same order everywhere, so that two transactions can't wait for each other.
        batches.sort(key=lambda found: (found[1].tenant, found[1].batch_id))
        outcomes: list[Outcome | PreparedBatch] = list(read)
        for (place, _), outcome in zip(batches, self._write_all(jobs, batches, transaction), strict=True):
            outcomes[place] = outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, PreparedBatch)]

    def _write_all(
        self, jobs: Sequence[Job], batches: Sequence[tuple[int, PreparedBatch]], transaction: Transaction
    ) -> list[Outcome]:
        # Who follows the trace of a batch looks for its own COPY there.
        if len(batches) > 1 and not any(is_sampled(str(jobs[place].job_id)) for place, _ in batches):
            results = write_new_batches(transaction.connection, [batch for _, batch in batches])
            if results is not None:
                return [_done(result, transaction) for result in results]
        outcomes = []
        for place, batch in batches:
            with for_job(str(jobs[place].job_id)):
                outcomes.append(self._write(jobs[place], batch, transaction))
        return outcomes

    def _read(self, job: Job) -> PreparedBatch | Dead:
        try:
            with for_job(str(job.job_id)):
                batch = self._reader.read(job)
        except (InvalidInputError, NotFoundError) as error:
            return Dead(error.code, error.message)
        note_of_job(str(job.job_id), batch_id=batch.batch_id)
        return batch

    def _write(self, job: Job, batch: PreparedBatch, transaction: Transaction) -> Outcome:
        try:
            result = write_batch(transaction.connection, batch, self._token_keys)
            if result.repeated:
                note_repeated_effect(transaction.connection, job)
        except (ConflictError, NotFoundError) as error:
            return Dead(error.code, error.message)
        except InvalidInputError as error:
            # People were erased since it was enqueued, and this worker can't tell whom. Another one may have the keys.
            _log.error("%s", error.message, extra={"job_id": job.job_id, "code": error.code})
            return Postpone(KEYS_AWAITED, "token_keys")
        return _done(result, transaction)


def _done(result: WriteResult, transaction: Transaction) -> Done:
    transaction.after_commit(lambda: _count(result))
    counts = {"stored": result.stored, "rejected": result.rejected, "duplicates": result.duplicates}
    if result.erased:
        counts["erased"] = result.erased
    return Done(repeated=result.repeated, counts=counts)


def _count(result: WriteResult) -> None:
    if result.repeated:
        BATCHES_REPEATED.inc()
        return
    SUBMISSIONS.labels("stored").inc(result.stored)
    SUBMISSIONS.labels("rejected").inc(result.rejected)
    SUBMISSIONS.labels("duplicate").inc(result.duplicates)
    if result.erased:
        SUBMISSIONS.labels("erased").inc(result.erased)


def _build(resources: Resources) -> WriteSubmissionBatches:
    reader = BatchReader(resources.forms, resources.settings.batch_size_limit)
    return WriteSubmissionBatches(reader, resources.partitions, resources.settings.token_keys)


#: More in one transaction gain little, and an error has them all run again.
REGISTRATION = Registration(WriteSubmissionBatch, _build, Policy(group_limit=8))
