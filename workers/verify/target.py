"""What is verified: a deployment by its settings, and how its servers are asked."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import psycopg
import redis

from penstock.producers.queue.connection import connect
from penstock.schemas.errors import Code, UnavailableError
from penstock.workers.accounts.secret import Secret
from penstock.workers.database.failures import storage_errors
from penstock.workers.settings import WorkerSettings

#: Connections to the processes' database at once: a deployment's budget of connections has room for these.
CONNECTIONS = 3
#: libpq knows none below.
_LEAST_CONNECT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment.

    Attributes:
        settings: those that its processes have.
        environ: the environment that they were read from.
        gateway, sidecar: their addresses, where they are to be looked at.
        api_key: for the gateway; None where it asks for none, or where no smoke test is wanted.
        limit: what each check may take.
        clock_tolerance: how far this machine's clock may be from the servers'.
        clock: this machine's, in seconds since 1970.
    """

    settings: WorkerSettings
    environ: Mapping[str, str] = field(repr=False)
    gateway: str | None = None
    sidecar: str | None = None
    api_key: Secret | None = None
    limit: timedelta = timedelta(seconds=10)
    clock_tolerance: timedelta = timedelta(seconds=1)
    clock: Callable[[], float] = time.time
    _free: threading.BoundedSemaphore = field(default_factory=partial(threading.BoundedSemaphore, CONNECTIONS))

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection]:
        """A connection to the processes' database, where one is free.

        Raises:
            PenstockError: as `database_at`.
        """
        if not self._free.acquire(timeout=self.limit.total_seconds()):
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, "PostgreSQL keeps the other checks waiting")
        try:
            with self.database_at(self.settings.database_url) as connection:
                yield connection
        finally:
            self._free.release()

    @contextmanager
    def database_at(self, url: str) -> Iterator[psycopg.Connection]:
        """A connection in autocommit; it is cut after `limit`.

        Raises:
            PenstockError: of the family `STORAGE_`, in words that quote no part of the URL but host and port.
        """
        with storage_errors(), self._connect(url) as connection, _cut_after(connection, self.limit):
            yield connection

    def _connect(self, url: str) -> psycopg.Connection:
        # Several checks may have to wait for each other, and each is to say itself what is wrong.
        seconds = max(_LEAST_CONNECT_SECONDS, int(self.limit.total_seconds() / 3))
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=seconds,
            application_name="penstock-verify",
            prepare_threshold=None,  # a pooler may give each statement another server connection
        )

    @contextmanager
    def redis(self) -> Iterator["redis.Redis"]:
        """A client whose commands are tried once, and end before `limit`."""
        with connect(self.settings.redis_url, replays=0, patience=self.limit * 0.6) as client:
            yield client


@contextmanager
def _cut_after(connection: psycopg.Connection, limit: timedelta) -> Iterator[None]:
    """Cut the connection where the block takes longer: a server that is frozen would keep it for ever."""
    # A handle of our own: the connection's may be closed, and its number another one's, when the time is up.
    with socket.socket(fileno=os.dup(connection.fileno())) as handle:
        timer = threading.Timer(limit.total_seconds(), _cut, [handle])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _cut(handle: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        handle.shutdown(socket.SHUT_RDWR)
