"""The loop that counts each queue's jobs, and tells where one is missing."""

import logging
from datetime import timedelta

import redis

from penstock.producers.queue.inspection import QueueInspector
from penstock.schemas.errors import Code
from penstock.workers.scheduler.each_queue import for_each_queue

_log = logging.getLogger(__name__)


class QueueCounting:
    """Says once that jobs are missing. The counts are of one instant each, so they can be held against each other."""

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
        for counts in for_each_queue(self._inspector.counts):
            if counts.unaccounted not in (0, self._told.get(counts.queue, 0)):
                _log.error(
                    "the queue %s has %d job(s) that its counts can't account for; penstock reconcile names them",
                    counts.queue,
                    counts.unaccounted,
                    extra={"code": Code.JOB_UNACCOUNTED},
                )
            self._told[counts.queue] = counts.unaccounted
        return False
