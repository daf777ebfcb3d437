"""The loop that does what has to happen in each queue every second, also while no worker is free to do it."""

from datetime import timedelta

from penstock.producers.queue.connection import redis_errors
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases
from penstock.workers.scheduler.each_queue import for_each_queue
from penstock.workers.telemetry.metrics import JOBS_FINISHED, JOBS_RECOVERED


class QueueTicks:
    """Recovers the jobs of workers that are not heard of, promotes due jobs, releases parked ones."""

    name = "queues"
    channel = None

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        #: A gap of half a lease between two ticks would pass for an outage, in which nobody is taken for dead.
        self.interval: timedelta = leases.tick_every

    def run_once(self) -> bool:
        """Tick each queue; one tick does a bounded piece, and the next comes within a second or less.

        Raises:
            PenstockError: of the family `QUEUE_`.
        """
        for_each_queue(self._tick)
        return False

    def _tick(self, queue: Queue) -> None:
        with redis_errors("ticking a queue"):
            tick = self._leases.tick(queue, member=False)
        if tick.recovered:
            JOBS_RECOVERED.labels(queue).inc(tick.recovered)
            for kind in tick.buried_kinds:
                JOBS_FINISHED.labels(queue, kind, "dead").inc()
