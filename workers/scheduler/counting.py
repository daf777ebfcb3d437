"""The loops that count: each queue's jobs, where one of these is missing, and how the gates stand."""

import logging
from datetime import timedelta

import redis

from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import Code
from penstock.workers.protection.circuits_control import CircuitControl
from penstock.workers.protection.circuits_listening import observe_circuits
from penstock.workers.protection.limits_gauges import observe_limits
from penstock.workers.protection.limits_view import LimitView
from penstock.workers.scheduler.each_queue import for_each_queue
from penstock.workers.telemetry.queues import observe_queues

_log = logging.getLogger(__name__)


class QueueCounting:
    """Sets the queues' gauges. The counts are of one instant each, so they can be held against each other."""

    name = "counts"
    interval = timedelta(seconds=15)
    channel = None

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._inspector = QueueInspector(client, namespace)
        self._told: dict[str, int] = {}

    def run_once(self) -> bool:
        """Count.

        Raises:
            PenstockError: of the family `QUEUE_`.
        """
        counted = for_each_queue(self._inspector.counts)
        observe_queues(counted)
        for counts in counted:
            if counts.unaccounted not in (0, self._told.get(counts.queue, 0)):
                _log.error(
                    "the queue %s has %d job(s) that its counts can't account for; penstock reconcile names them",
                    counts.queue,
                    counts.unaccounted,
                    extra={"code": Code.JOB_UNACCOUNTED},
                )
            self._told[counts.queue] = counts.unaccounted
        return False


class GateCounting:
    """Sets the gauges of circuits and of operators' limits, whether or not a worker asks them just now."""

    name = "gates"
    interval = timedelta(seconds=15)
    channel = None

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._circuits = CircuitControl(client, namespace)
        self._limits = LimitView(client, namespace)

    def run_once(self) -> bool:
        """Look at them.

        Raises:
            PenstockError: of the family `QUEUE_`.
        """
        observe_circuits(self._circuits.states())
        observe_limits(self._limits.overridden())
        return False
