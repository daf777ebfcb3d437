"""Spans of OpenTelemetry where somebody has set it up in this process, and nothing at all where nobody has.

Nothing here imports OpenTelemetry. What a span says of its origin, its children's jobs and links are W3C `traceparent`
texts, as they stand in messages and tables.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from penstock.schemas.errors import PenstockError
from penstock.schemas.trace import parse_trace

Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute]
Kind = Literal["internal", "server", "client", "producer", "consumer"]

#: A span takes no more links; the SDK's own limit.
MOST_LINKS = 128


class Parent(Enum):
    """Whose child a span is, where that is no `traceparent`."""

    #: The span that surrounds it in this context, if there is one.
    CURRENT = "current"
    #: Nobody's: a trace begins.
    NONE = "none"


class Span(Protocol):
    """A piece of work in a trace. A context manager: within its block it is the current span, and it ends with it.

    An exception that leaves the block is told by its type, and by its code where it is ours; never by its message.
    """

    @property
    def trace(self) -> str | None:
        """The span's own `traceparent`; None where nobody traces."""

    def note(self, attributes: Attributes) -> None:
        """Add to what the span says. Words of the source, numbers and ids: nothing that people wrote."""

    def link(self, trace: str | None) -> None:
        """Link to the span of a `traceparent`; nothing happens for None."""

    def fail(self, what: str) -> None:
        """Say that the work failed; `what` is a stable code or the name of a class."""

    def end(self) -> None:
        """End the span, where its block is not its end. What is told of it later is left out."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _Nothing:
    """The span of a process that traces nothing."""

    __slots__ = ()
    trace = None

    def note(self, attributes: Attributes) -> None:
        """Forget them."""

    def link(self, trace: str | None) -> None:
        """Forget it."""

    def fail(self, what: str) -> None:
        """Forget it."""

    def end(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


NOTHING: Final[Span] = _Nothing()

# Of a process of Penstock's, where that is decided at its start; a service that uses the client has its own, globally.
_own: list[Any] = []
# The service's provider, and the tracer that it gave.
_known: list[tuple[Any, Any]] = []


def use_tracer(tracer: Any) -> None:
    """Have this process's spans made by a tracer of OpenTelemetry's; by nobody for None. Until `use_global_tracer`."""
    _own[:] = [tracer]


def use_global_tracer() -> None:
    """Have them made by OpenTelemetry's global provider, where somebody has set one."""
    _own.clear()


def is_tracing() -> bool:
    """Whether anybody makes spans in this process."""
    return _tracer() is not None


def has_current() -> bool:
    """Whether this context is within a span."""
    return _tracer() is not None and _api().get_current_span().get_span_context().is_valid


def current_trace() -> str | None:
    """The `traceparent` of the span that this context is within."""
    api = _api()
    # Another thread may be in the middle of importing it.
    current = getattr(api, "get_current_span", None)
    return None if current is None else trace_of(current().get_span_context())


def trace_of(context: Any) -> str | None:
    """The `traceparent` of OpenTelemetry's context of a span; None where that is of none."""
    if not context.is_valid:
        return None
    return parse_trace(f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}")


@contextmanager
def outside() -> Iterator[None]:
    """Be in no span within the block."""
    if not is_tracing():
        yield
        return
    token = _contexts().attach(_contexts().Context())
    try:
        yield
    finally:
        _contexts().detach(token)


def name_of(error: BaseException) -> str:
    """What a span may say of an error: the code of one of ours, else its class."""
    return str(error.code) if isinstance(error, PenstockError) else type(error).__qualname__


def start_span(
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    parent: Parent | str = Parent.CURRENT,
    links: Sequence[str | None] = (),
) -> Span:
    """Begin a span.

    Args:
        name: words of the source, of which there are few.
        kind: its role.
        attributes: what it says, as `Span.note` takes it.
        parent: whose child it is: of this context's span, of nobody, or of the span of a `traceparent`.
        links: `traceparent`s of what it has to do with; those beyond `MOST_LINKS` are left out.
    """
    tracer = _tracer()
    return NOTHING if tracer is None else _Live(tracer, name, kind, attributes, (parent, links))


def _api() -> Any:
    # Where a span can be current, somebody has imported it; nobody has to wait for that import because of us.
    return sys.modules.get("opentelemetry.trace")


def _tracer() -> Any:
    """What makes spans; None where nobody has set OpenTelemetry up."""
    if _own:
        return _own[0]
    api = _api()
    if api is None or not hasattr(api, "get_tracer"):
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider)):
        return None
    # One pair, so that another thread never sees half of it.
    known = _known[0] if _known else None
    if known is None or known[0] is not provider:
        known = (provider, provider.get_tracer("penstock"))
        _known[:] = [known]
    return known[1]


class _Live:
    """A span that OpenTelemetry knows."""

    def __init__(
        self,
        tracer: Any,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
        relations: tuple[Parent | str, Sequence[str | None]],
    ) -> None:
        api = _api()
        self._api = api
        parent, links = relations
        wanted = [found for found in map(_context_of, dict.fromkeys(links)) if found is not None]
        self._span = tracer.start_span(
            name,
            context=_parent_context(api, parent),
            kind=api.SpanKind[kind.upper()],
            attributes=attributes,
            links=[api.Link(found) for found in wanted[:MOST_LINKS]],
            record_exception=False,
            set_status_on_exception=False,
        )
        self._token: Any = None
        self._has_ended = False

    @property
    def trace(self) -> str | None:
        return trace_of(self._span.get_span_context())

    def note(self, attributes: Attributes) -> None:
        if not self._has_ended:
            self._span.set_attributes(attributes)

    def link(self, trace: str | None) -> None:
        found = _context_of(trace)
        if found is not None:
            self._span.add_link(found)

    def fail(self, what: str) -> None:
        if not self._has_ended:
            self._span.set_attribute("error.type", what)
            self._span.set_status(self._api.StatusCode.ERROR)

    def end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._span.end()

    def __enter__(self) -> Self:
        self._token = _contexts().attach(self._api.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(name_of(error))
        _contexts().detach(self._token)
        self.end()


def _contexts() -> Any:
    return sys.modules["opentelemetry.context"]


def _parent_context(api: Any, parent: Parent | str) -> Any:
    """None for the current one."""
    if parent is Parent.CURRENT:
        return None
    found = None if isinstance(parent, Parent) else _context_of(parent)
    empty = _contexts().Context()
    return empty if found is None else api.set_span_in_context(api.NonRecordingSpan(found), empty)


def _context_of(trace: str | None) -> Any:
    sound = parse_trace(trace) if trace else None
    if sound is None:
        return None
    _, trace_id, span_id, flags = sound.split("-")
    api = _api()
    return api.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=api.TraceFlags(int(flags, 16))
    )
