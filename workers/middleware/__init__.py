"""What surrounds each job, one behaviour a file; this is the one list of them, in order.

dramatiq calls `before_` hooks in this order and `after_` hooks in reverse.
"""

from dramatiq import Middleware
from dramatiq.middleware import CurrentMessage, Retries

from penstock.producers.queue.records import JobRecords
from penstock.workers.middleware.job_records import RecordJobs
from penstock.workers.middleware.metrics import MeasureJobs


def middleware(records: JobRecords) -> list[Middleware]:
    """The middleware of a worker.

    `Retries` comes last, so that its `after_` hook runs first: the others see what became of the job.
    """
    return [CurrentMessage(), RecordJobs(records), MeasureJobs(), Retries()]
