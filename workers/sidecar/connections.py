"""Connections that end where the head of a request does not come: each takes a file of the process."""

import asyncio
from datetime import timedelta

from uvicorn.protocols.http.h11_impl import H11Protocol

#: From the first byte of a head, or from the beginning of the connection, until the head is whole.
HEAD_WAIT = timedelta(seconds=10)


class PromptProtocol(H11Protocol):
    """uvicorn's, which waits for a begun head for ever. What comes after the head is bounded by `Bounds`."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio wants it."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """As asyncio wants it."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._end()
        elif getattr(self.cycle, "response_complete", True):  # there is none before the first head
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio wants it."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(HEAD_WAIT.total_seconds(), self.transport.close)

    def _end(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
