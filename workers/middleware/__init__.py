"""What surrounds each delivery, one behaviour a file; this is the one list of them, in order.

dramatiq calls `before_` hooks in this order and `after_` hooks in reverse. Retries, records and time limits are no
middleware: they are part of the step that ends a lease, or must not end before the work does.
"""

from dramatiq import Middleware

from penstock.workers.middleware.context import BindJobs
from penstock.workers.middleware.metrics import MeasureJobs
from penstock.workers.middleware.traces import TraceJobs


def middleware() -> list[Middleware]:
    """The middleware of a worker."""
    return [BindJobs(), TraceJobs(), MeasureJobs()]
