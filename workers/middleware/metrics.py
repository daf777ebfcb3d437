"""Measures jobs: how long they waited, how long they ran, how they ended."""

import time
from collections import Counter
from typing import Any

import dramatiq

from penstock.workers.broker.delivery import Delivery, OpenedJob
from penstock.workers.broker.leases import Verb
from penstock.workers.telemetry.exemplars import exemplar_of
from penstock.workers.telemetry.metrics import JOB_DURATION, JOB_WAIT, JOBS_FINISHED

_OUTCOMES = {
    Verb.ACK: "done",
    Verb.RETRY: "retried",
    Verb.POSTPONE: "postponed",
    Verb.PARK: "postponed",
    Verb.RELEASE: "released",
    Verb.BURY: "dead",
}


class MeasureJobs(dramatiq.Middleware):
    """Observes each job of each delivery in the job metrics."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Observe the wait: from when the job was ready to its lease, by Redis's clock."""
        self._started[id(message)] = time.perf_counter()
        if isinstance(message, Delivery):
            wait = JOB_WAIT.labels(str(message.queue_name), message.actor_name)
            for job in message.jobs:
                if job.header.trace is not None:
                    wait.observe(_waited_ms(job) / 1000, _exemplar(job))
            alike = Counter(_waited_ms(job) for job in message.jobs if job.header.trace is None)
            for waited_ms, times in alike.items():
                wait.observe_alike(waited_ms / 1000, times)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Observe the duration and the outcomes."""
        started = self._started.pop(id(message), None)
        if not isinstance(message, Delivery) or message.work is None or started is None:
            return
        labels = (str(message.queue_name), str(message.actor_name))
        # What jobs share in one delivery is parted among them, so that the sum is the time that was spent.
        each = (time.perf_counter() - started) / len(message.jobs)
        exemplars = {job.leased.job_id: _exemplar(job) for job in message.jobs if job.header.trace is not None}
        duration = JOB_DURATION.labels(*labels)
        finished: Counter[Verb] = Counter()
        for settlement in message.work.settlements:
            exemplar = exemplars.get(settlement.job.job_id) if exemplars else None
            if exemplar is None:
                finished[settlement.verb] += 1
            else:
                duration.observe(each, exemplar)
                JOBS_FINISHED.labels(*labels, _OUTCOMES[settlement.verb]).inc(exemplar=exemplar)
        for verb, count in finished.items():
            duration.observe_alike(each, count)
            JOBS_FINISHED.labels(*labels, _OUTCOMES[verb]).inc(count)


def _waited_ms(job: OpenedJob) -> int:
    # A clock that went back is no negative wait.
    return max(job.leased.leased_at - job.leased.ready_at, 0)


def _exemplar(job: OpenedJob) -> dict[str, str] | None:
    return exemplar_of(job.header.trace) if job.header.trace is not None else None
