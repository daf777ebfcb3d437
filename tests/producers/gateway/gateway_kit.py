"""A real `penstock gateway`, what asks it as programs do, and what asks it as nobody should."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.recovery.servers import free_port
from tests.system import BIN, wait_for

PROBLEM = "application/problem+json"
NDJSON = {"Content-Type": "application/x-ndjson"}
FORM = {"title": "A poll", "questions": [{"id": "q", "text": "What?", "type": "text"}]}
FORM_ID = "poll"


@dataclass(slots=True)
class Gateway:
    """A running gateway."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}{path}", timeout=60, **options)

    def submit(self, *texts: str, key: str | None = None, **options: Any) -> httpx.Response:
        """Send rows as one document."""
        rows = [{"answers": {"q": text}} for text in texts]
        headers = {**({} if key is None else {"Idempotency-Key": key}), **options.pop("headers", {})}
        path = f"/v1/forms/{FORM_ID}/submissions"
        return self.ask("POST", path, json={"submissions": rows}, headers=headers, **options)

    def stream(self, content: Any, key: str | None = None, **headers: str) -> httpx.Response:
        """Send lines."""
        told = {**NDJSON, **({} if key is None else {"Idempotency-Key": key}), **headers}
        return self.ask("POST", f"/v1/forms/{FORM_ID}/submissions", content=content, headers=told)

    def connect(self, seconds: float = 30.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def say(self, text: bytes, seconds: float = 30.0) -> bytes:
        """All that comes back for these bytes, as they are, until the gateway ends the connection."""
        with self.connect(seconds) as connection:
            connection.sendall(text)
            return read_all(connection)

    def memory_mb(self, what: str = "VmRSS") -> float:
        """`VmRSS` now, or `VmHWM`, the most that there was."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) / 1024
        raise AssertionError(what)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def faults(self) -> list[str]:
        """What the process logged of faults of its own."""
        return [line for line in self.log.read_text().splitlines() if '"level": "error"' in line]


@contextmanager
def serving(environment: dict[str, str], folder: Path, until: str = "/health/ready", **env: str) -> Iterator[Gateway]:
    """A gateway within the block; unless it was killed it must stop cleanly, and have met no fault of its own."""
    port = free_port()
    log = folder / f"gateway-{port}.log"
    variables = {"PENSTOCK_GATEWAY_LISTEN": f"127.0.0.1:{port}"} | env
    with log.open("wb") as file:
        process = subprocess.Popen([BIN / "penstock", "gateway"], env=environment | variables, stderr=file)
    found = Gateway(process, port, log)
    try:
        wait_for(lambda: _answers(found, until), "the gateway to be ready")
        yield found
    finally:
        killed = process.poll() is not None
        if not killed:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    if not killed:
        assert code == 0, log.read_text()[-4_000:]
        assert found.faults() == []


def _answers(gateway: Gateway, path: str) -> bool:
    assert gateway.process.poll() is None, gateway.log.read_text()[-4_000:]
    try:
        return gateway.ask("GET", path).status_code == 200
    except httpx.HTTPError:
        return False


def line(text: str) -> bytes:
    """A row as a line of a stream."""
    return json.dumps({"answers": {"q": text}}, separators=(",", ":")).encode() + b"\n"


def lines(count: int, name: str = "row") -> bytes:
    return b"".join(line(f"{name} {number}") for number in range(count))


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer's problem, which must be whole."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert {"type", "title", "detail", "remedy", "errors", "instance", "request_id"} <= set(body)
    return body


def read_all(connection: socket.socket) -> bytes:
    parts = []
    # What is refused unread is reset by the kernel, after the answer.
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def head(*headers: str, method: str = "POST", path: str = f"/v1/forms/{FORM_ID}/submissions") -> bytes:
    told = ("Host: 127.0.0.1", *headers)
    return f"{method} {path} HTTP/1.1\r\n".encode() + b"".join(f"{one}\r\n".encode() for one in told) + b"\r\n"
