"""Has every line that is logged below an actor say which job it is about, and what that was enqueued for."""

from collections.abc import Sequence
from contextvars import Token
from functools import partial
from typing import Any

import dramatiq

from penstock.producers.tracing import Cause, bind_cause, unbind_cause
from penstock.schemas.trace import trace_id_of
from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.delivery import Delivery, OpenedJob
from penstock.workers.telemetry.context import BoundJobs, Jobs, bind_jobs, name_boot, unbind_jobs


class BindJobs(dramatiq.Middleware):
    """Binds a delivery's jobs to the context of the worker thread that runs it.

    Jobs that an actor enqueues belong to the trace and the request of the one that it runs.
    """

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[Token[BoundJobs], Token[Cause]]] = {}

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Note by what id the queues know this process."""
        if isinstance(broker, PenstockBroker):
            name_boot(broker.tools.leases.boot)

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Bind the jobs."""
        if isinstance(message, Delivery):
            header = message.jobs[0].header
            cause = Cause(header.trace, header.request_id) if len(message.jobs) == 1 else Cause()
            self._tokens[id(message)] = bind_jobs(partial(_facts_of, message.jobs)), bind_cause(cause)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Let them go."""
        self._unbind(message)

    def after_skip_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Let them go."""
        self._unbind(message)

    def _unbind(self, message: dramatiq.MessageProxy) -> None:
        tokens = self._tokens.pop(id(message), None)
        if tokens is not None:
            unbind_jobs(tokens[0])
            unbind_cause(tokens[1])


def _facts_of(jobs: Sequence[OpenedJob]) -> Jobs:
    return {job.leased.job_id: _facts(job) for job in jobs}


def _facts(job: OpenedJob) -> dict[str, Any]:
    leased, header = job.leased, job.header
    facts: dict[str, Any] = {
        "job_id": leased.job_id,
        "kind": header.kind,
        "queue": leased.queue,
        "tenant": leased.tenant,
        "attempt": leased.attempts + 1,
    }
    if header.trace is not None:
        facts["trace_id"] = trace_id_of(header.trace)
    if header.request_id is not None:
        facts["request_id"] = header.request_id
    return facts
