"""A server that answers as a test tells it, and remembers what it was asked: for what a real gateway does seldom."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Told:
    """An answer; one without a status closes the connection instead, once it has read the request."""

    status: int | None = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def problem(status: int, code: str, **headers: str) -> Told:
    body = {"code": code, "detail": f"told {code}", "remedy": "wait", "status": status, "errors": [{"code": code}]}
    return Told(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class ScriptedGateway:
    """Answers with what `tells` holds, one after the other; the last one for ever."""

    def __init__(self) -> None:
        self.tells: list[Told] = []
        self.asked: list[Asked] = []
        self.url = ""

    def next(self) -> Told:
        return self.tells.pop(0) if len(self.tells) > 1 else self.tells[0]


@contextmanager
def scripted_gateway() -> Iterator[ScriptedGateway]:
    script = ScriptedGateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """A test's output is no log."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(self.chunks())
            script.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
            told = script.next()
            if told.status is None:
                self.close_connection = True
                return
            text = b"" if told.body is None else json.dumps(told.body).encode()
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815  the library's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
