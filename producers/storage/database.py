"""A pool of connections for servers that are asked over HTTP: each piece of work in a thread, with limits."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Self, TypeVar

import psycopg
import psycopg_pool

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.schemas.refusals import refusal_of

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

#: A connection as work gets it.
Connection = psycopg.Connection[Any]

#: The longest wait for a free connection, and the longest statement: less than an ordinary request may take.
WAIT = timedelta(seconds=5)
STATEMENT = timedelta(seconds=20)
#: After PostgreSQL did not answer, nobody waits for it again for this long: those who can do without it go on.
REST = timedelta(seconds=2)
_CONNECT = timedelta(seconds=5)

#: SQLSTATEs, or the classes that they begin with, of a server that can't serve now and will later.
_AWAY = ("08", "53", "57P", "25006")
_TIMEOUT = ("57014", "55P03", "25P03", "25P04")
_NO_SCHEMA = ("3F000", "42P01", "42883", "42703")
_DENIED = ("42501",)


class TellingConnection(psycopg.Connection[Any]):
    """Tells the log why the server and this process refuse each other: the pool tells its callers of no reason."""

    @classmethod
    def connect(cls, *args: Any, **options: Any) -> Self:
        """As psycopg's."""
        try:
            return super().connect(*args, **options)
        except psycopg.OperationalError as error:
            refusal = refusal_of(error)
            if refusal is not None:
                _log.warning("no connection to PostgreSQL: %s", refusal, extra={"code": Code.STORAGE_UNAVAILABLE})
            raise


class Database:
    """PostgreSQL, for callers in an event loop. It may be away: connections are made when they are wanted."""

    def __init__(self, url: str, *, application_name: str, connections: int) -> None:
        self._pool = psycopg_pool.ConnectionPool(
            url,
            connection_class=TellingConnection,
            min_size=0,
            max_size=connections,
            timeout=WAIT.total_seconds(),
            reconnect_timeout=2.0,
            name=application_name,
            kwargs={
                "application_name": application_name,
                "connect_timeout": int(_CONNECT.total_seconds()),
                "prepare_threshold": None,  # a pooler may give each transaction another server connection
                "tcp_user_timeout": 30_000,  # ms
            },
            open=False,
        )
        self._rest_until = 0.0
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="penstock-postgresql")

    def open(self) -> None:
        """Be ready to connect."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close(timeout=2.0)

    def get_stats(self) -> dict[str, int]:
        """The pool's own statistics, by psycopg_pool's names."""
        return self._pool.get_stats()

    async def run(self, work: Callable[[Connection], _T], *, repeatable: bool = True) -> _T:
        """Do work in one transaction, and return what it returns.

        Args:
            work: called in a thread.
            repeatable: it may be done anew where the connection turns out to be dead, as after a server's restart.

        Raises:
            PenstockError: of the `STORAGE_` family, or what the work raises.
        """
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(self._run, work, repeatable)
        )

    def _run(self, work: Callable[[Connection], _T], repeatable: bool) -> _T:
        if time.monotonic() < self._rest_until:
            raise UnavailableError(Code.STORAGE_UNAVAILABLE, "PostgreSQL did not answer a moment ago")
        try:
            return self._twice(work, repeatable)
        except UnavailableError:
            self._rest_until = time.monotonic() + REST.total_seconds()
            raise

    def _twice(self, work: Callable[[Connection], _T], repeatable: bool) -> _T:
        try:
            try:
                return self._once(work)
            except psycopg.OperationalError as error:
                if not repeatable or error.sqlstate in _TIMEOUT:
                    raise
                # All connections of before a restart are dead, and each tells that only when it is used.
                self._pool.check()
                return self._once(work)
        except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
            raise storage_error(error) from error

    def _once(self, work: Callable[[Connection], _T]) -> _T:
        with self._pool.connection() as connection, connection.transaction():
            limit = f"{STATEMENT // timedelta(milliseconds=1)}ms"
            connection.execute("SELECT set_config('statement_timeout', %s, true)", (limit,))
            return work(connection)


def storage_error(error: Exception) -> PenstockError:
    """Our error for one of psycopg's. Its message names the SQLSTATE, never a value."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)):
            return UnavailableError(Code.STORAGE_UNAVAILABLE, f"PostgreSQL does not answer ({type(error).__name__})")
        return PenstockError(Code.STORAGE_REFUSED, f"PostgreSQL refused a statement ({type(error).__name__})")
    return _by_state(type(error).__name__, state)


def _by_state(name: str, state: str) -> PenstockError:
    if state in _TIMEOUT:
        return PenstockError(Code.STORAGE_TIMEOUT, f"PostgreSQL ended what took too long ({state})")
    if state.startswith(_AWAY):
        return UnavailableError(Code.STORAGE_UNAVAILABLE, f"PostgreSQL can't serve now ({state})")
    if state.startswith("40"):
        return PenstockError(Code.STORAGE_CONFLICT, f"the transaction was rolled back ({state})")
    if state in _NO_SCHEMA:
        return PenstockError(Code.STORAGE_SCHEMA_OUTDATED, f"the database lacks what this release needs ({state})")
    if state in _DENIED:
        return PenstockError(Code.STORAGE_PERMISSION_DENIED, f"the role of DATABASE_URL may not do that ({state})")
    return PenstockError(Code.STORAGE_REFUSED, f"PostgreSQL refused a statement ({name}, {state})")
