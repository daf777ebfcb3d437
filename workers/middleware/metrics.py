"""Measures jobs: how long they waited, how long they ran, how they ended."""

import time
from typing import Any

import dramatiq

from penstock.workers.telemetry.metrics import JOB_DURATION, JOB_WAIT, JOBS_FINISHED


class MeasureJobs(dramatiq.Middleware):
    """Observes each delivery in the job metrics."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Observe the wait, on the first attempt."""
        self._started[id(message)] = time.perf_counter()
        if not message.options.get("retries"):
            waited = time.time() - message.message_timestamp / 1000
            JOB_WAIT.labels(_queue(message), message.actor_name).observe(max(waited, 0))

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Observe the duration and the outcome."""
        started = self._started.pop(id(message), None)
        if started is not None:
            JOB_DURATION.labels(_queue(message), message.actor_name).observe(time.perf_counter() - started)
        outcome = "done" if exception is None else "dead" if message.failed else "retried"
        JOBS_FINISHED.labels(_queue(message), message.actor_name, outcome).inc()


def _queue(message: dramatiq.MessageProxy) -> str:
    return str(message.queue_name).removesuffix(".DQ")
