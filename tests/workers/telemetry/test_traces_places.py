"""Whose children spans are, in one thread: the tracer is OpenTelemetry's own, and the spans are kept in memory."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from penstock.producers.spans import (
    MOST_LINKS,
    NOTHING,
    Parent,
    current_trace,
    has_current,
    is_tracing,
    outside,
    start_span,
    use_global_tracer,
    use_tracer,
)
from penstock.producers.tracing import current_cause
from penstock.schemas.errors import Code, NotFoundError
from penstock.schemas.trace import trace_id_of
from penstock.workers.telemetry.otlp import FollowLinks
from penstock.workers.telemetry.traces import (
    TransactionSpan,
    bind_spans,
    call_span,
    for_job,
    link_job,
    statement_span,
    trace_of_job,
    unbind_spans,
)
from tests.workers.telemetry.traces_kit import TRACEPARENT, UNSAMPLED


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=FollowLinks(ALWAYS_ON), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_tracer(provider.get_tracer("test"))
    yield exporter
    use_global_tracer()


def names(spans: InMemorySpanExporter) -> list[str]:
    return [span.name for span in spans.get_finished_spans()]


def test_nobody_traces_unless_asked() -> None:
    assert not is_tracing()
    assert start_span("x") is NOTHING
    with start_span("x") as span, outside(), TransactionSpan() as transaction:
        transaction.begin()
        span.note({"a": 1})
        span.link(TRACEPARENT)
        span.fail("x")
        span.end()
        assert (span.trace, current_trace(), has_current()) == (None, None, False)
    assert statement_span("copy", "submissions") is call_span("GET", "/x") is NOTHING
    assert trace_of_job("nobody's") is None


def test_what_is_no_part_of_anything_has_no_span(spans: InMemorySpanExporter) -> None:
    with TransactionSpan() as transaction, statement_span("select", "outbox"), call_span("GET", "/x"):
        transaction.begin()
    assert names(spans) == []


def test_a_transaction_that_nobody_uses_has_no_span(spans: InMemorySpanExporter) -> None:
    with start_span("work"), TransactionSpan():
        pass
    assert names(spans) == ["work"]


def test_a_failure_is_told_by_its_code_or_class_and_never_by_its_message(spans: InMemorySpanExporter) -> None:
    for error in (NotFoundError(Code.FORM_NOT_FOUND, "swordfish"), ValueError("swordfish")):
        with pytest.raises(type(error)):
            fail_at_work(error)
    told = [span.attributes["error.type"] for span in spans.get_finished_spans() if span.attributes]
    assert told == ["FORM_NOT_FOUND", "FORM_NOT_FOUND", "ValueError", "ValueError"]
    assert "swordfish" not in "".join(span.to_json() for span in spans.get_finished_spans())


def fail_at_work(error: Exception) -> None:
    with start_span("work"), TransactionSpan() as transaction:
        transaction.begin()
        raise error


def test_an_interrupt_in_the_middle_leaves_nothing_to_the_next_delivery(spans: InMemorySpanExporter) -> None:
    bound = bind_spans({"a": start_span("first", parent=Parent.NONE)})
    interrupted = TransactionSpan().__enter__()
    interrupted.begin()
    assert statement_span("copy", "submissions") is not NOTHING
    unbind_spans(bound)
    assert statement_span("copy", "submissions") is NOTHING
    assert trace_of_job("a") is None


def test_statements_of_one_job_of_a_group_are_in_its_trace(spans: InMemorySpanExporter) -> None:
    jobs = {name: start_span(name, parent=Parent.NONE) for name in "ab"}
    bound = bind_spans(jobs)
    with TransactionSpan() as transaction:
        transaction.begin()
        with for_job("b"), statement_span("copy", "submissions") as copied:
            assert trace_id_of(copied.trace) == trace_id_of(jobs["b"].trace)
            with for_job("nobody's"), statement_span("insert", "x") as inserted:
                assert trace_id_of(inserted.trace) == trace_id_of(jobs["b"].trace)
        with statement_span("commit", "") as committed:
            pass
    unbind_spans(bound)
    (shared,) = [span for span in spans.get_finished_spans() if span.name == "transaction"]
    assert trace_id_of(committed.trace) == f"{shared.context.trace_id:032x}"
    assert len(shared.links) == 2


def test_links_are_bounded_and_what_is_no_trace_is_none(spans: InMemorySpanExporter) -> None:
    many = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 1_000)]
    with start_span("relay", links=[None, "nonsense", TRACEPARENT, TRACEPARENT, *many]) as span:
        span.link("nonsense")
        span.link(None)
    (found,) = spans.get_finished_spans()
    assert len(found.links) == MOST_LINKS
    assert found.links[0].context.trace_id == int(trace_id_of(TRACEPARENT) or "", 16)


def test_a_link_tells_of_the_sampling_where_no_parent_does(spans: InMemorySpanExporter) -> None:
    for parent, links in (
        (Parent.NONE, [UNSAMPLED]),
        (Parent.NONE, [UNSAMPLED, TRACEPARENT]),
        (TRACEPARENT, [UNSAMPLED]),
    ):
        start_span(f"{parent} {links}", parent=parent, links=links).end()
    assert len(spans.get_finished_spans()) == 2
    assert FollowLinks(ALWAYS_OFF).should_sample(None, 1, "x").decision.is_sampled() is False
    assert "AlwaysOff" in FollowLinks(ALWAYS_OFF).get_description()


def test_what_is_enqueued_within_a_span_belongs_to_it(spans: InMemorySpanExporter) -> None:
    with start_span("work", parent=TRACEPARENT) as work:
        assert current_cause().trace == work.trace
        with outside():
            assert current_cause().trace is None
    assert current_cause().trace is None


def test_a_post_links_to_the_span_that_it_names(spans: InMemorySpanExporter) -> None:
    job = start_span("process publishing", parent=Parent.NONE)
    bound = bind_spans({"a": job})
    link_job("a", TRACEPARENT)
    link_job("b", TRACEPARENT)
    unbind_spans(bound)
    job.end()
    (found,) = spans.get_finished_spans()
    assert len(found.links) == 1
