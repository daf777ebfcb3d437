"""How long statements take. Operation and table are words of the source, never values."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import Histogram

from penstock.workers.telemetry.metrics import QUERY_DURATION
from penstock.workers.telemetry.traces import statement_span


@contextmanager
def timed_query(operation: str, table: str) -> Iterator[None]:
    """Observe how long the block took, whether or not its statement failed; where that is traced, it is a span.

    Args:
        operation: `select`, `insert`, `update`, `delete`, `copy` or `commit`.
        table: without its schema; empty for a commit.
    """
    started = time.perf_counter()
    try:
        with statement_span(operation, table):
            yield
    finally:
        _child(operation, table).observe(time.perf_counter() - started)


@cache
def _child(operation: str, table: str) -> Histogram:
    return QUERY_DURATION.labels(operation, table)
