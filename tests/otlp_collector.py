"""A collector for tests: takes traces as OTLP over HTTP, decodes them, and fails as it is told."""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.system import wait_for

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it came. Ids are hexadecimal; `parent` is empty where there is none."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    is_error: bool
    began_ns: int
    ended_ns: int
    raw: str = field(repr=False)

    @property
    def place(self) -> tuple[str, str]:
        """What a link to it says."""
        return self.trace_id, self.span_id


@dataclass(slots=True)
class Collector:
    """A running collector.

    Attributes:
        hangs: takes requests and answers none until it is told to let go.
    """

    port: int = 0
    hangs: bool = False
    requests: int = 0
    spans: list[Seen] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def env(self) -> dict[str, str]:
        """The settings of a process that sends its traces here, soon after they end."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def take(self, path: str, body: bytes) -> None:
        """Keep what a request brought."""
        with self._lock:
            self.requests += 1
            if not self.hangs:
                assert path == "/v1/traces"
                self.spans += decoded(body)

    def named(self, name: str) -> list[Seen]:
        """The spans of a name, in the order of their beginnings."""
        with self._lock:
            found = [span for span in self.spans if span.name == name]
        return sorted(found, key=lambda span: span.began_ns)

    def wait_for(self, name: str, count: int = 1) -> list[Seen]:
        """The spans of a name, once there are so many."""
        wait_for(lambda: len(self.named(name)) >= count, f"{count} span(s) {name!r}; there are {self.names()}")
        return self.named(name)

    def whole(self, trace_id: str, *names: str, outside: str = "") -> list[Seen]:
        """A trace once each of the names and every span's parent have come, from processes that export in their time.

        `outside` is the span of a caller who exports nothing here.
        """

        def complete() -> bool:
            trace = self.trace(trace_id)
            known = {"", outside, *(span.span_id for span in trace)}
            return {*names} <= {span.name for span in trace} and all(span.parent in known for span in trace)

        wait_for(complete, f"the whole of the trace {trace_id} with {names}; there are {self.names()}")
        return self.trace(trace_id)

    def names(self) -> list[str]:
        """Of all spans that came."""
        with self._lock:
            return [span.name for span in self.spans]

    def trace(self, trace_id: str) -> list[Seen]:
        """The spans of a trace, in the order of their beginnings."""
        with self._lock:
            return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.began_ns)


def decoded(body: bytes) -> Iterator[Seen]:
    """The spans of a request's body."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=service,
                    name=span.name,
                    kind=_KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    is_error=span.status.code == 2,
                    began_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    raw=str(span),
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def tree(spans: list[Seen]) -> str:
    """A trace as text: each span below its parent, with its service and kind."""
    known = {span.span_id for span in spans}

    def lines(parent: str | None, depth: int) -> Iterator[str]:
        for span in spans:
            if span.parent == parent or (parent is None and span.parent not in known):
                yield f"{'  ' * depth}{span.name}  [{span.service}, {span.kind}]"
                yield from lines(span.span_id, depth + 1)

    return "\n".join(lines(None, 0))


@contextmanager
def otlp_collector() -> Iterator[Collector]:
    """A collector on loopback; ends with the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            collector.take(self.path, gzip.decompress(body) if is_packed else body)
            if collector.hangs:
                collector.let_go.wait(120)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
