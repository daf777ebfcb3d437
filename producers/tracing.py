"""The trace and the request that jobs are enqueued for: given, bound to the context, or OpenTelemetry's."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass

from penstock.producers.spans import current_trace
from penstock.schemas.trace import require_request, require_trace


@dataclass(frozen=True, slots=True)
class Cause:
    """What a job is enqueued for.

    Attributes:
        trace: a W3C `traceparent`.
        request_id: of the request that somebody sent.
        follows: the `traceparent` of the job's life that ended before this one.
    """

    trace: str | None = None
    request_id: str | None = None
    follows: str | None = None


NO_CAUSE = Cause()
_current: ContextVar[Cause] = ContextVar("penstock_cause", default=NO_CAUSE)


@contextmanager
def traced(trace: str | None = None, request_id: str | None = None) -> Iterator[None]:
    """Have the jobs that are enqueued within the block belong to a trace and a request.

    Args:
        trace: a W3C `traceparent`, as the header of that name brings it.
        request_id: of the request, which their log lines will name.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where one of them is not of its form.
    """
    cause = Cause(
        None if trace is None else require_trace(trace), None if request_id is None else require_request(request_id)
    )
    token = bind_cause(cause)
    try:
        yield
    finally:
        unbind_cause(token)


def bind_cause(cause: Cause) -> Token[Cause]:
    """Have the jobs that this context enqueues belong to a cause, until `unbind_cause`."""
    return _current.set(cause)


def unbind_cause(token: Token[Cause]) -> None:
    """Have them belong to what they belonged to before."""
    _current.reset(token)


def current_cause(trace: str | None = None) -> Cause:
    """The trace that was given, or else the context's, or else that of OpenTelemetry's current span.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where `trace` is no `traceparent`.
    """
    bound = _current.get()
    if trace is not None:
        return Cause(require_trace(trace), bound.request_id)
    if bound.trace is not None:
        return bound
    span = current_trace()
    return bound if span is None else Cause(span, bound.request_id)
