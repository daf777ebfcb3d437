"""The sidecar's connections to PostgreSQL: few, and none of them waits for a server that is silent.

A server that is frozen, or behind a cut cable, keeps its connections open and says nothing, so its own time-outs can't
help; and each thread that waits for it is one less for the others. Here the wait itself looks up: at the time that the
request has left, and at what the prober has found meanwhile.
"""

import logging
import threading
import time
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import generators, waiting
from psycopg.abc import PQGen
from psycopg.pq.abc import PGcancelConn
from psycopg_pool import ConnectionPool, PoolTimeout

from penstock.workers.database.failures import storage_errors
from penstock.workers.database.pool import IDLE_TIMEOUT, RECONNECT_TIMEOUT
from penstock.workers.settings import WorkerSettings
from penstock.workers.sidecar.presence import Presence, seconds_left, within

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

POOL_MAX = 4
#: The longest wait for a free connection.
POOL_WAIT = timedelta(seconds=1)
#: A statement that takes longer makes us ask whether the server is there at all.
DOUBT_AFTER = timedelta(milliseconds=250)
PROBE_LIMIT = timedelta(seconds=1)
_TICK_SECONDS = 0.05
_CANCEL_SECONDS = 1.0

Pool = ConnectionPool[psycopg.Connection]


class PromptConnection(psycopg.Connection[Any]):
    """A connection that gives up when its request's time is over, or when the server is found to be away."""

    presence: Presence | None = None

    def wait(self, gen: PQGen[_T], interval: float = _TICK_SECONDS, timeout: float | None = None) -> _T:
        """As psycopg's.

        Raises:
            psycopg.OperationalError: where it gave up; the connection is closed then, since it is of no further use.
        """
        return super().wait(self._watched(gen), min(interval, _TICK_SECONDS), timeout)

    def _watched(self, gen: PQGen[_T]) -> PQGen[_T]:
        doubt_at: float | None = time.monotonic() + DOUBT_AFTER.total_seconds()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:
                    doubt_at = self._look_up(doubt_at)
                wanted = gen.send(ready)
        except StopIteration as end:
            found: _T = end.value
            return found

    def _look_up(self, doubt_at: float | None) -> float | None:
        if seconds_left() == 0:
            self._give_up("the time of this request is over")
        if self.presence is not None:
            if self.presence.is_away:
                self._give_up("the server is away")
            if doubt_at is not None and time.monotonic() > doubt_at:
                self.presence.doubt()
                return None
        return doubt_at

    def _give_up(self, told: str) -> None:
        # A server that is only slow should not go on with what nobody waits for.
        if psycopg.capabilities.has_cancel_safe() and not (self.presence is not None and self.presence.is_away):
            cancel = self.pgconn.cancel_conn()
            threading.Thread(target=_cancel, args=(cancel,), name="penstock-cancel", daemon=True).start()
        self.pgconn.finish()
        raise psycopg.OperationalError(told)


def _cancel(cancel: PGcancelConn) -> None:
    # Never by the older function of libpq, which waits without end, and keeps Python's lock meanwhile.
    try:
        cancel.start()
        waiting.wait_conn(generators.cancel(cancel), interval=_TICK_SECONDS, timeout=_CANCEL_SECONDS)
    except psycopg.Error as error:
        _log.debug("a statement could not be cancelled: %s", type(error).__name__)
    finally:
        cancel.finish()


class PromptPool(ConnectionPool[psycopg.Connection]):
    """A pool that refuses at once while the server is known to be away."""

    presence: Presence | None = None

    def getconn(self, timeout: float | None = None) -> psycopg.Connection:
        """As the library's.

        Raises:
            psycopg.OperationalError: while the server is known to be away.
            PoolTimeout: where no connection was free in time.
        """
        if self.presence is not None and self.presence.is_away:
            raise psycopg.OperationalError("the server is away")
        wait = self.timeout if timeout is None else timeout
        left = seconds_left()
        try:
            return super().getconn(wait if left is None else min(wait, left))
        except PoolTimeout:
            if self.presence is not None:
                self.presence.doubt()
            raise


def open_prompt_pool(settings: WorkerSettings, presence: Presence) -> PromptPool:
    """Open the pool without waiting for the server."""
    bound = type("BoundConnection", (PromptConnection,), {"presence": presence})
    pool = PromptPool(
        settings.database_url,
        connection_class=bound,
        min_size=1,
        max_size=POOL_MAX,
        timeout=POOL_WAIT.total_seconds(),
        max_idle=IDLE_TIMEOUT.total_seconds(),
        reconnect_timeout=RECONNECT_TIMEOUT.total_seconds(),
        name="penstock-sidecar",
        kwargs=connection_options(settings, "penstock-sidecar"),
        open=True,
    )
    pool.presence = presence
    # Connections of before an outage are stale; whoever took one would fail.
    presence.on_return(pool.check)
    return pool


def connection_options(settings: WorkerSettings, application_name: str) -> dict[str, Any]:
    """What each connection of the sidecar has in common."""
    return {
        "application_name": application_name,
        "autocommit": True,
        "connect_timeout": 2,  # libpq knows none below
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "prepare_threshold": 5 if settings.prepare_statements == "on" else None,
    }


class PostgresProbe:
    """Asks PostgreSQL by a connection of its own that it keeps, so that a frozen server shows within a second."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._connection: PromptConnection | None = None

    def __call__(self) -> None:
        """Ask once.

        Raises:
            PenstockError: of the `STORAGE_` family, where it does not answer.
        """
        with storage_errors(), within(PROBE_LIMIT):
            try:
                self._ask()
            except psycopg.Error:
                self.close()
                raise

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self) -> None:
        known = self._connection
        if known is None or known.closed:
            known = self._connect()
        try:
            known.execute("SELECT 1")
        except psycopg.OperationalError:
            # It may only have been cut (a restart, a pooler); a new one tells.
            if seconds_left() == 0:
                raise
            self.close()
            self._connect().execute("SELECT 1")

    def _connect(self) -> PromptConnection:
        options = connection_options(self._settings, "penstock-sidecar-probe")
        self._connection = PromptConnection.connect(self._settings.database_url, **options)
        return self._connection
