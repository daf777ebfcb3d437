"""What makes spans and sends them: OpenTelemetry's SDK, set up by its own settings. The only file that imports it.

Spans wait in a bounded queue for a thread that sends them: where the collector is slow, they are dropped, and no job
waits.
"""

import logging
import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

_log = logging.getLogger(__name__)

#: How long a stop waits for spans to be sent.
FLUSH = timedelta(seconds=2)


class FollowLinks(Sampler):
    """Decides for a trace that begins with links as it was decided for one of those; by the settings for any other."""

    def __init__(self, rest: Sampler) -> None:
        self._rest = rest

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As OpenTelemetry wants it."""
        has_parent = trace.get_current_span(parent_context).get_span_context().is_valid
        if links and not has_parent and not any(link.context.trace_flags.sampled for link in links):
            return SamplingResult(Decision.DROP)
        return self._rest.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """As OpenTelemetry wants it."""
        return f"FollowLinks{{{self._rest.get_description()}}}"


class Exporting:
    """The spans of this process on their way to the collector.

    Args:
        process: what this process is.
    """

    def __init__(self, process: str) -> None:
        own = {
            "service.name": f"penstock-{process}",
            "service.version": version("penstock"),
            "service.instance.id": str(uuid.uuid4()),
        }
        # What the settings say of the service goes before what we do.
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        # A stop of ours is bounded; the one at exit waits half a minute for a collector that hangs.
        by_settings = TracerProvider(shutdown_on_exit=False).sampler
        self._provider = TracerProvider(sampler=FollowLinks(by_settings), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer("penstock", version("penstock"))

    def stop(self) -> None:
        """Send what waits, for up to `FLUSH`; the rest is dropped."""
        sending = threading.Thread(target=self._provider.shutdown, name="penstock-traces", daemon=True)
        sending.start()
        sending.join(FLUSH.total_seconds())
        if sending.is_alive():
            _log.warning("some traces were not sent: their collector does not answer")
