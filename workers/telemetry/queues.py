"""The queues' state as metrics."""

from collections.abc import Iterable

from penstock.producers.queue.counts import QueueCounts
from penstock.workers.telemetry.metrics import JOBS_UNACCOUNTED, QUEUE_DEPTH, QUEUE_OLDEST_AGE


def observe_queues(queues: Iterable[QueueCounts], faults: int = 0) -> None:
    """Set the gauges of all queues to what was counted.

    Args:
        queues: the counts of every queue.
        faults: jobs that the last reconciliation named. The counters miss most of these too, so the greater counts.
    """
    missing = 0
    for counts in queues:
        states = {
            "ready": counts.ready,
            "scheduled": counts.scheduled,
            "leased": counts.leased,
            "parked": counts.parked,
            "dead": counts.dead,
        }
        for state, count in states.items():
            QUEUE_DEPTH.labels(counts.queue, state).set(count)
        age = counts.oldest_ready_age
        QUEUE_OLDEST_AGE.labels(counts.queue).set(0 if age is None else age.total_seconds())
        missing += abs(counts.unaccounted)
    JOBS_UNACCOUNTED.set(max(missing, faults))
