"""The spans of a worker: one for each job that runs, those of its SQL, and those of its calls to platforms.

A delivery of one job is the current span of its thread. Of a group each job has its span, in its own trace; the
transaction that they share is in none of these: it begins a trace, and both sides link to each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from penstock.producers.spans import NOTHING, Parent, Span, has_current, is_tracing, name_of, start_span

_DATABASE: dict[str, Any] = {"db.system.name": "postgresql"}

#: The spans of a delivery's jobs, by their ids.
JobSpans = Mapping[str, Span]


@dataclass(slots=True)
class _Place:
    """Whose children the statements of a thread are: None for the current span's, if there is one."""

    trace: str | None = None


BoundSpans = tuple[Token[JobSpans | None], Token[_Place | None]]

_spans: ContextVar[JobSpans | None] = ContextVar("penstock_job_spans", default=None)
_place: ContextVar[_Place | None] = ContextVar("penstock_place", default=None)


def bind_spans(spans: JobSpans) -> BoundSpans:
    """Have the work of this thread belong to the spans of these jobs, until `unbind_spans`."""
    return _spans.set(spans), _place.set(None)


def unbind_spans(bound: BoundSpans) -> None:
    """Have it belong to what it belonged to before, even where an interrupt cut it short."""
    _spans.reset(bound[0])
    _place.reset(bound[1])


def trace_of_job(job_id: str) -> str | None:
    """The `traceparent` of the span of a job that this thread is at work on; None where nobody traces."""
    return (_spans.get() or {}).get(job_id, NOTHING).trace


def is_sampled(job_id: str) -> bool:
    """Whether the span of a job that this thread is at work on is kept, so that somebody may look at it."""
    trace = trace_of_job(job_id)
    # The last member of a traceparent has the flags, the last bit of which is "sampled" (W3C Trace Context §3.2.2.5).
    return trace is not None and int(trace[-2:], 16) & 1 == 1


def link_job(job_id: str, trace: str | None) -> None:
    """Link the span of a job that this thread is at work on to another one."""
    (_spans.get() or {}).get(job_id, NOTHING).link(trace)


@contextmanager
def for_job(job_id: str) -> Iterator[None]:
    """Have the statements within the block belong to one job of the group, and not to what they all share."""
    spans = _spans.get()
    if spans is None or len(spans) == 1 or job_id not in spans:
        yield
        return
    token = _place.set(_Place(spans[job_id].trace))
    try:
        yield
    finally:
        _place.reset(token)


class TransactionSpan:
    """The span of a transaction, which begins with it: a transaction that nobody uses has none."""

    def __init__(self) -> None:
        self._span: Span = NOTHING
        self._parent: str | None = None
        self._place: _Place | None = None
        self._token: Token[_Place | None] | None = None

    def begin(self) -> None:
        """Begin it, where this thread is at work on something that is traced."""
        if self._place is None:
            return
        jobs = _spans.get()
        if self._parent is not None:
            self._span = start_span("transaction", attributes=_DATABASE, parent=self._parent)
        elif has_current():
            self._span = start_span("transaction", attributes=_DATABASE)
        elif jobs:
            self._span = _shared_span(list(jobs.values()))
        self._place.trace = self._span.trace

    def __enter__(self) -> Self:
        if is_tracing():
            outer = _place.get()
            self._parent = None if outer is None else outer.trace
            self._place = _Place()
            self._token = _place.set(self._place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        _place.reset(self._token)
        if error is not None:
            self._span.fail(name_of(error))
        self._span.end()


def _shared_span(jobs: Sequence[Span]) -> Span:
    attributes = {**_DATABASE, "penstock.jobs": len(jobs)}
    shared = start_span("transaction", attributes=attributes, parent=Parent.NONE, links=[job.trace for job in jobs])
    for job in jobs:
        job.link(shared.trace)
    return shared


def statement_span(operation: str, table: str) -> Span:
    """The span of a statement, by operation and table as `timed_query` has them; none outside of a traced work."""
    if not is_tracing():
        return NOTHING
    place = _place.get()
    told = place.trace if place is not None else None
    if told is None and not has_current():
        return NOTHING
    verb = operation.upper()
    summary = f"{verb} {table}".rstrip()
    attributes = {**_DATABASE, "db.operation.name": verb, "db.query.summary": summary}
    if table:
        attributes["db.collection.name"] = table
    return start_span(summary, "client", attributes, Parent.CURRENT if told is None else told)


def call_span(method: str, path: str) -> Span:
    """The span of a call to a platform; none outside of a traced work.

    Args:
        method: of HTTP.
        path: with names in the place of ids.
    """
    if not has_current():
        return NOTHING
    return start_span(f"{method} {path}", "client", {"http.request.method": method, "url.template": path})
