"""Transactions that are about to begin, so that none of them waits for a server that is known to be away."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

_log = logging.getLogger(__name__)


class Beginnings:
    """Connections that wait for the answer to a BEGIN. Safe to share between threads.

    A pooler that has lost its server keeps its clients' connections open, and lets a BEGIN wait for minutes; the job
    would be held all that time, and be interrupted for what is not its fault.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[psycopg.Connection] = set()

    @contextmanager
    def beginning(self, connection: psycopg.Connection) -> Iterator[None]:
        """Run the BEGIN of a connection within the block."""
        with self._lock:
            self._waiting.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(connection)

    def cut(self) -> None:
        """Hang up for all who wait: each gets an error, as if the server had; nothing was begun that could be lost."""
        # With the lock, so that no connection goes on from its BEGIN to its work in the meantime.
        with self._lock:
            for connection in self._waiting:
                with suppress(OSError, psycopg.Error):
                    _hang_up(connection)
            if self._waiting:
                _log.info("hung up for %d transaction(s) that waited to begin", len(self._waiting))


def _hang_up(connection: psycopg.Connection) -> None:
    # A second descriptor of the same socket: closing it leaves libpq its own.
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)
