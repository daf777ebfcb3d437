"""Makes a span of each job that runs: its wait, its attempt, its outcome, below what it was enqueued for."""

from contextlib import AbstractContextManager
from contextvars import Token
from dataclasses import dataclass
from typing import Any

import dramatiq

from penstock.producers.enqueue_spans import SYSTEM
from penstock.producers.spans import NOTHING, Attributes, Parent, Span, is_tracing, name_of, outside, start_span
from penstock.producers.tracing import Cause, bind_cause, unbind_cause
from penstock.schemas.trace import trace_id_of
from penstock.workers.broker.delivery import Delivery, OpenedJob
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.telemetry.context import job_facts, note_of_job
from penstock.workers.telemetry.traces import BoundSpans, JobSpans, bind_spans, unbind_spans

_OUTCOMES = {
    Verb.ACK: "done",
    Verb.RETRY: "retried",
    Verb.POSTPONE: "postponed",
    Verb.PARK: "postponed",
    Verb.RELEASE: "released",
    Verb.BURY: "dead",
}
_FAILED = frozenset({Verb.RETRY, Verb.BURY})


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a thread has been given for a delivery, and what to take from it."""

    spans: JobSpans
    token: BoundSpans
    cause: Token[Cause]
    current: AbstractContextManager[object]


class TraceJobs(dramatiq.Middleware):
    """Traces each job of each delivery, where anybody traces.

    The first attempt is a child of what the job was enqueued for. A later one begins a trace of its own that links to
    it: it may come days later, and the trace of a request should end. So does a life after a death.
    """

    def __init__(self) -> None:
        self._bound: dict[int, _Bound] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Begin the spans."""
        if not isinstance(message, Delivery) or not is_tracing():
            return
        spans = {job.leased.job_id: _begin(job) for job in message.jobs}
        for job_id, span in spans.items():
            if "trace_id" not in job_facts(job_id):
                note_of_job(job_id, trace_id=trace_id_of(span.trace))
        current: AbstractContextManager[object] = outside()
        cause = Cause()
        if len(spans) == 1:
            (current,) = own = tuple(spans.values())
            # What it enqueues is a child of its own, and no sibling.
            cause = Cause(own[0].trace, message.jobs[0].header.request_id)
        current.__enter__()
        self._bound[id(message)] = _Bound(spans, bind_spans(spans), bind_cause(cause), current)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """End them, with the jobs' outcomes."""
        bound = self._bound.pop(id(message), None)
        if bound is None or not isinstance(message, Delivery):
            return
        for settlement in [] if message.work is None else message.work.settlements:
            _tell(bound.spans.get(settlement.job.job_id, NOTHING), settlement)
        if exception is not None:
            for span in bound.spans.values():
                span.fail(name_of(exception))
        _end(bound)

    def after_skip_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """End them."""
        bound = self._bound.pop(id(message), None)
        if bound is not None:
            _end(bound)


def _begin(job: OpenedJob) -> Span:
    header = job.header
    is_first = job.leased.attempts == 0
    return start_span(
        f"process {job.leased.queue}",
        "consumer",
        _attributes(job),
        header.trace if is_first and header.trace is not None else Parent.NONE,
        [header.follows] if is_first else [header.trace, header.follows],
    )


def _attributes(job: OpenedJob) -> Attributes:
    leased = job.leased
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": leased.queue,
        "messaging.message.id": leased.job_id,
        "messaging.message.body.size": len(job.payload),
        "penstock.job.kind": job.header.kind,
        "penstock.job.attempt": leased.attempts + 1,
        "penstock.job.wait_seconds": max(0.0, (leased.leased_at - leased.ready_at) / 1000),
        "penstock.tenant": leased.tenant,
    }


def _tell(span: Span, settlement: Settlement) -> None:
    span.note({"penstock.job.outcome": _OUTCOMES[settlement.verb]})
    if settlement.verb in _FAILED:
        span.fail(str(settlement.detail.get("code", "_OTHER")))


def _end(bound: _Bound) -> None:
    unbind_spans(bound.token)
    unbind_cause(bound.cause)
    bound.current.__exit__(None, None, None)
    for span in bound.spans.values():
        span.end()
