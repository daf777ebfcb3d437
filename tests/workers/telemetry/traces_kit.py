"""What the tests of traces share: the trace that callers bring, and how spans are found."""

from typing import Any

from tests.otlp_collector import Collector, Seen
from tests.system import wait_for

#: As a caller sends it: the trace that all is to be part of.
TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CALLER}-01"
UNSAMPLED = f"00-5bf92f3577b34da6a3ce929d0e0e4736-{CALLER}-00"
#: Stands wherever a person's words can.
SECRET = "swordfish"
COPY = "COPY submissions"


def child_of(spans: list[Seen], parent: Seen, name: str) -> Seen:
    """The one span of the name below another one."""
    (found,) = [span for span in spans if span.name == name and span.parent == parent.span_id]
    return found


def texts_of(spans: list[Seen]) -> Any:
    """All that spans tell, as they came."""
    return "\n".join(span.raw for span in spans)


def trace_for(trace_id: str) -> str:
    """The `traceparent` of a caller in a trace."""
    return f"00-{trace_id}-{CALLER}-01"


def of_job(collector: Collector, name: str, job_id: str, count: int = 1) -> list[Seen]:
    """The spans of a name that are of a job, once there are so many."""

    def found() -> list[Seen]:
        return [span for span in collector.named(name) if span.attributes["messaging.message.id"] == job_id]

    wait_for(lambda: len(found()) >= count, f"{count} span(s) {name!r} of the job {job_id}")
    return found()
