"""The connection that migrates: its settings, the lock that all migrating processes share, and its errors."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.schemas.refusals import refusal_of

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: "PENS" and 1: the advisory lock of a database's migrations. Advisory locks of two databases never meet.
LOCK_KEY = (1346719315, 1)
LOCK_POLL = timedelta(milliseconds=100)

LOCK_TIMEOUT = timedelta(seconds=5)
ATTEMPTS = 5
FIRST_PAUSE = timedelta(milliseconds=250)

#: Another transaction was in the way; the same migration may well succeed in a moment.
_CONFLICTS = {"55P03", "40P01", "40001"}
#: Another database of the cluster makes the same roles or grants at this moment (PostgreSQL: XX000 for catalogs).
_CLUSTER_CONFLICTS = {"23505", "42710"}
_CATALOG_RACE = "tuple concurrently"

_NOT_SERVING = {"57P01", "57P02", "57P03", "57P05"}

# The session of a process that was killed keeps the lock until its statement ends, unless it looks for its client.
# Only servers on systems with POLLRDHUP or its like can: documentation of client_connection_check_interval.
_NOTICE_DEAD_CLIENT = """
    SELECT pg_catalog.set_config('client_connection_check_interval', '2s', false)
     WHERE pg_catalog.version() LIKE '%linux%'
"""

_DEFAULTS = {"connect_timeout": "5", "application_name": "penstock migrate"}

#: What of libpq's message is told: the server's own words, or why the host could not be reached. The rest may
#: quote parts of a malformed URL, and so of its password.
_SERVER_SAYS = re.compile(r"FATAL:\s+(.+)")
_HOST_SAYS = re.compile(r" failed: ([A-Z][A-Za-z ]+)$", re.MULTILINE)
_TELLABLE_HOST = re.compile(r"[A-Za-z0-9._:,/-]+")


def connect(database_url: str) -> psycopg.Connection:
    """A connection in autocommit mode that waits long for work and briefly for locks.

    It has to be a connection to PostgreSQL itself, or to a pooler in session mode: the lock belongs to the session.

    Raises:
        PenstockError: `STORAGE_UNAVAILABLE`, or `CONFIG_INVALID` for an unreadable URL. Neither shows the URL.
    """
    try:
        parameters = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        raise PenstockError(
            Code.CONFIG_INVALID,
            "the database's URL can't be read",
            remedy="Write it as postgresql://user:password@host:port/database, with special characters %-encoded.",
        ) from None
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    try:
        connection = psycopg.connect(make_conninfo(**(_DEFAULTS | given)), autocommit=True)
        _configure(connection)
    except psycopg.OperationalError as error:
        raise UnavailableError(Code.STORAGE_UNAVAILABLE, _why_unreachable(error, parameters)) from None
    connection.add_notice_handler(_log_warning)
    return connection


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        _log.warning("PostgreSQL: %s", notice.message_primary)


def _configure(connection: psycopg.Connection) -> None:
    settings = {
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        # Unqualified names in a migration find nothing but PostgreSQL's own: nobody's table can get in the way.
        "search_path": "pg_catalog, pg_temp",
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
    }
    if connection.info.server_version >= 170000:
        settings["transaction_timeout"] = "0"
    for name, value in settings.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    set_lock_timeout(connection, LOCK_TIMEOUT)
    connection.execute(_NOTICE_DEAD_CLIENT)


def set_lock_timeout(connection: psycopg.Connection, timeout: timedelta) -> None:
    """From now on, give up a statement that waits longer than `timeout` for one lock (SQLSTATE 55P03)."""
    milliseconds = timeout // timedelta(milliseconds=1)
    connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))


def _why_unreachable(error: psycopg.Error, parameters: Mapping[str, object]) -> str:
    host, port = str(parameters.get("host") or "localhost"), str(parameters.get("port") or 5432)
    place = f" at {host}:{port}" if _TELLABLE_HOST.fullmatch(host) and port.isdigit() else ""
    refusal = refusal_of(error)
    if refusal is not None:
        return f"no connection to PostgreSQL{place}: {refusal}"
    told = _SERVER_SAYS.search(str(error)) or _HOST_SAYS.search(str(error))
    return f"PostgreSQL{place} does not answer: {told[1] if told else type(error).__name__}"


@contextmanager
def migration_lock(connection: psycopg.Connection, wait: timedelta) -> Iterator[None]:
    """Be the only process that migrates this database.

    Raises:
        PenstockError: `STORAGE_MIGRATION_LOCKED` where another one still does after `wait`.
    """
    deadline = time.monotonic() + wait.total_seconds()
    # Asked again and again: a session that waits inside pg_advisory_lock() holds a snapshot, for whose end a
    # CREATE INDEX CONCURRENTLY of the lock's holder would wait for ever.
    while not _try_lock(connection):
        if time.monotonic() >= deadline:
            raise PenstockError(
                Code.STORAGE_MIGRATION_LOCKED,
                f"another process has been migrating this database for over {wait.total_seconds():g} s",
            )
        time.sleep(LOCK_POLL.total_seconds())
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", LOCK_KEY)


def _try_lock(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", LOCK_KEY).fetchone()
    return bool(row and row[0])


def with_retries(what: str, run: Callable[[], Result]) -> Result:
    """What `run` returns; run again, with growing pauses, while other transactions are in its way.

    Args:
        what: names the work in the log.
        run: does the work, wholly or not at all.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return run()
        except psycopg.Error as error:
            if not _was_in_the_way(error):
                raise
            _log.warning("%s: %s; attempt %d of %d", what, error.diag.message_primary, attempt, ATTEMPTS)
            jitter = 1 + secrets.randbelow(1000) / 1000
            time.sleep(FIRST_PAUSE.total_seconds() * 2 ** (attempt - 1) * jitter)
    return run()


def _was_in_the_way(error: psycopg.Error) -> bool:
    if error.sqlstate in _CONFLICTS:
        return True
    message = error.diag.message_primary or ""
    shared = error.diag.table_name in {None, "pg_authid", "pg_auth_members"} and error.sqlstate in _CLUSTER_CONFLICTS
    return (shared and ("role" in message or "pg_auth" in message)) or _CATALOG_RACE in message


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what is left of psycopg's errors into ours: the connection broke, or rights are missing.

    Raises:
        PenstockError: `STORAGE_UNAVAILABLE`, `STORAGE_PERMISSION_DENIED` or `STORAGE_MIGRATION_FAILED`.
    """
    try:
        yield
    except psycopg.Error as error:
        raise as_penstock_error(error, "migrating") from error


def as_penstock_error(error: psycopg.Error, what: str) -> PenstockError:
    """Our error for a failure of `what`. It holds PostgreSQL's primary message, which quotes no row."""
    message = error.diag.message_primary or type(error).__name__
    state = error.sqlstate
    if state in _NOT_SERVING or (state or "08")[:2] == "08":
        return UnavailableError(Code.STORAGE_UNAVAILABLE, f"{what}: the connection to PostgreSQL broke ({message})")
    if state == "42501":
        return PenstockError(Code.STORAGE_PERMISSION_DENIED, f"{what}: {message}")
    remedy = None
    if state in _CONFLICTS:
        remedy = "Long transactions hold the locks that it needs: run it again when they have ended."
    return PenstockError(Code.STORAGE_MIGRATION_FAILED, f"{what}: {message} ({state})", remedy=remedy)
