"""The span of a request, below the trace that it brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from penstock.producers.gateway.problems import ProblemError, status_of
from penstock.producers.spans import NOTHING, Parent, Span, is_tracing, name_of, start_span
from penstock.schemas.errors import PenstockError
from penstock.schemas.trace import parse_trace

STATUS = "http.response.status_code"


@contextmanager
def request_span(request: Request) -> Iterator[Span]:
    """Trace what is done within the block as the request. Of its address the route's template is told."""
    if not is_tracing():
        yield NOTHING
        return
    route = request.scope["route"].path
    attributes = {"http.request.method": request.method, "http.route": route, "url.scheme": request.url.scheme}
    brought = parse_trace(request.headers.get("traceparent", ""))
    with start_span(f"{request.method} {route}", "server", attributes, brought or Parent.NONE) as span:
        try:
            yield span
        except Exception as error:
            _tell(span, error)
            raise


def _tell(span: Span, error: Exception) -> None:
    """A refusal is no failure of the server's."""
    ours = error.error if isinstance(error, ProblemError) else error
    status = getattr(error, "status", None) or (status_of(ours) if isinstance(ours, PenstockError) else 500)
    span.note({STATUS: status, "error.type": name_of(ours)})
    if status >= 500:
        span.fail(name_of(ours))
    span.end()
