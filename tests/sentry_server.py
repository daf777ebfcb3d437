"""A Sentry for tests: takes envelopes as its SDK sends them, keeps what came, and fails as it is told."""

import gzip
import importlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_KEY = "0123456789abcdef0123456789abcdef"


@dataclass(slots=True)
class SentryServer:
    """A running server.

    Attributes:
        status: of its answers; 200 unless a fault is wanted.
        retry_after: the header's seconds, where it is not 0.
        hangs: answers nothing until it is told to let go.
    """

    port: int = 0
    status: int = 200
    retry_after: int = 0
    hangs: bool = False
    requests: int = 0
    bodies: list[bytes] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dsn(self) -> str:
        """The address for `SENTRY_DSN`."""
        return f"http://{_KEY}@127.0.0.1:{self.port}/7"

    @property
    def items(self) -> list[tuple[dict[str, Any], Any]]:
        """Header and payload of each item of each envelope that was taken, in order."""
        with self._lock:
            bodies = list(self.bodies)
        return [item for body in bodies for item in parse_envelope(body)]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that were taken."""
        return [payload for header, payload in self.items if header["type"] == "event"]

    def take(self, path: str, body: bytes, encoding: str | None) -> None:
        """Keep a request."""
        with self._lock:
            self.requests += 1
            if path == "/api/7/envelope/" and self.status == 200 and not self.hangs:
                self.bodies.append(_decoded(body, encoding))


def _decoded(body: bytes, encoding: str | None) -> bytes:
    """The SDK compresses with what is installed."""
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "br":
            decoded: bytes = importlib.import_module("brotli").decompress(body)
            return decoded
        case _:
            return body


def parse_envelope(body: bytes) -> Iterator[tuple[dict[str, Any], Any]]:
    """The items of an envelope: a line of headers, then for each item a line of headers and its payload."""
    _, _, rest = body.partition(b"\n")
    while rest:
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        length = header.get("length")
        if length is None:
            payload, _, rest = rest.partition(b"\n")
        else:
            payload, rest = rest[:length], rest[length:].removeprefix(b"\n")
        yield header, json.loads(payload)


@contextmanager
def sentry_server() -> Iterator[SentryServer]:
    """A server on loopback; ends with the block."""
    sentry = SentryServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sentry.take(self.path, body, self.headers.get("Content-Encoding"))
            if sentry.hangs:
                sentry.let_go.wait(60)
            self.send_response(sentry.status)
            if sentry.retry_after:
                self.send_header("Retry-After", str(sentry.retry_after))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that has gone is none of the test's concern."""

    server = Server(("127.0.0.1", 0), Handler)
    sentry.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield sentry
    finally:
        sentry.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def wait_for_events(sentry: SentryServer, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
    """The events, once there are so many."""
    ends_at = time.monotonic() + seconds
    while len(sentry.events) < count:
        if time.monotonic() > ends_at:
            raise AssertionError(f"{len(sentry.events)} of {count} events came")
        time.sleep(0.05)
    return sentry.events
