"""The actor of `submission_batch.write`."""

from collections.abc import Sequence

from penstock.schemas.errors import ConflictError, InvalidInputError, NotFoundError
from penstock.schemas.submission_batch import WriteSubmissionBatch
from penstock.workers.database.partitions import Partitions
from penstock.workers.database.transaction import Transaction
from penstock.workers.job import Dead, Done, Job, Outcome
from penstock.workers.registry import Registration, Resources
from penstock.workers.submissions.batch import BatchReader, WriteResult, write_batch
from penstock.workers.submissions.instants import months_of
from penstock.workers.submissions.store import PreparedBatch
from penstock.workers.telemetry.metrics import BATCHES_REPEATED, SUBMISSIONS


class WriteSubmissionBatches:
    """Stores the good rows of batches, keeps the others as rejections, all in the transaction that it is given."""

    def __init__(self, reader: BatchReader, partitions: Partitions) -> None:
        self._reader = reader
        self._partitions = partitions

    def __call__(self, jobs: Sequence[Job], transaction: Transaction) -> Sequence[Outcome]:
        """Write several batches. One that can't be written is dead and leaves the others alone."""
        # All that needs no lock comes before the transaction begins.
        read = [self._read(job) for job in jobs]
        batches = [batch for batch in read if isinstance(batch, PreparedBatch)]
        self._partitions.ensure(months_of(row.submitted_us for batch in batches for row in batch.accepted))
        written: dict[int, Outcome] = {}
        for batch in sorted(batches, key=lambda batch: (batch.tenant, batch.batch_id)):
            written[id(batch)] = _write(batch, transaction)
        return [written[id(batch)] if isinstance(batch, PreparedBatch) else batch for batch in read]

    def _read(self, job: Job) -> PreparedBatch | Dead:
        try:
            return self._reader.read(job)
        except (InvalidInputError, NotFoundError) as error:
            return Dead(error.code, error.message)


def _write(batch: PreparedBatch, transaction: Transaction) -> Outcome:
    try:
        result = write_batch(transaction.connection, batch)
    except (ConflictError, NotFoundError) as error:
        return Dead(error.code, error.message)
    transaction.after_commit(lambda: _count(result))
    counts = {"stored": result.stored, "rejected": result.rejected, "duplicates": result.duplicates}
    return Done(repeated=result.repeated, counts=counts)


def _count(result: WriteResult) -> None:
    if result.repeated:
        BATCHES_REPEATED.inc()
        return
    SUBMISSIONS.labels("stored").inc(result.stored)
    SUBMISSIONS.labels("rejected").inc(result.rejected)
    SUBMISSIONS.labels("duplicate").inc(result.duplicates)


def _build(resources: Resources) -> WriteSubmissionBatches:
    reader = BatchReader(resources.forms, resources.settings.batch_size_limit)
    return WriteSubmissionBatches(reader, resources.partitions)


REGISTRATION = Registration(WriteSubmissionBatch, _build)
