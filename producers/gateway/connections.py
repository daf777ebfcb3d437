"""Connections that end where nothing whole comes of them: each takes a file and memory of the process."""

import asyncio
from datetime import timedelta
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: From the first byte of a head, or from the beginning of the connection, until the head is whole.
HEAD_WAIT = timedelta(seconds=10)
#: The longest head: its first line and all headers.
HEAD_BYTES = 32 * 1024
#: How long the rest of a body is read, and thrown away, after its request was answered: whoever still sends would
#: else see a broken connection and not the answer.
DRAIN_WAIT = timedelta(seconds=30)

_REFUSAL = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n%s"
)
_BODY = b'{"type":"urn:penstock:error:%s","title":"%s","status":%s,"code":"%s","detail":"%s","errors":[]}'


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, which waits for a begun head for ever and keeps as much of it as comes."""

    connection_limit: ClassVar[int]
    _limit: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """As asyncio wants it."""
        super().connection_made(transport)
        if len(self.connections) > self.connection_limit:
            self._refuse(b"503 Service Unavailable", b"REQUEST_OVERLOADED", b"too many connections")
            return
        self._begin(HEAD_WAIT)

    def data_received(self, data: bytes) -> None:
        """As asyncio wants it."""
        if self._ended:
            return
        if self._in_head:
            self._begin(HEAD_WAIT)
            self._head_bytes += len(data)
        super().data_received(data)
        # One read holds 256 KiB at the most, so that is what a head can take before it is refused.
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", b"REQUEST_INVALID", b"the request's head is too long")

    def on_headers_complete(self) -> None:
        """As httptools wants it."""
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", b"REQUEST_INVALID", b"the request's head is too long")
            return
        self._end()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As httptools wants it."""
        if not self._ended:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """As httptools wants it."""
        if self._ended:
            return
        self._in_head, self._head_bytes = True, 0
        self._end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn wants it: where the body has not come yet, it is waited for, and not for ever."""
        super().on_response_complete()
        if not self._in_head:
            self._begin(DRAIN_WAIT)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes it
        """Let whoever has said all, and only listens now, have the answer."""
        waits = not getattr(self.cycle, "more_body", True) and not self.cycle.response_complete
        if waits:
            self.cycle.keep_alive = False
        return waits

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio wants it."""
        self._end()
        super().connection_lost(exc)

    def _refuse(self, status: bytes, code: bytes, told: bytes) -> None:
        self._ended = True
        self._end()
        body = _BODY % (code, told, status[:3], code, told)
        extra = b"retry-after: 2\r\n" if status.startswith(b"503") else b""
        self.transport.write(_REFUSAL % (status, len(body), extra, body))
        self.transport.close()

    def _begin(self, wait: timedelta) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(wait.total_seconds(), self.transport.close)

    def _end(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def bounded_protocol(connections: int) -> type[BoundedProtocol]:
    """The protocol of a server that may have so many connections at once."""
    return type("BoundedProtocol", (BoundedProtocol,), {"connection_limit": connections})
