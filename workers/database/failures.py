"""What PostgreSQL's errors mean to us.

SQLSTATEs: PostgreSQL's documentation, appendix A. The tables are data, so that each decision can be read and tested.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool

from penstock.schemas.errors import Code, PenstockError, UnavailableError

#: The transaction lost against another one; the same transaction may well succeed at once.
CONFLICTS = {
    "40001": "serialization_failure",
    "40P01": "deadlock_detected",
    "55P03": "lock_not_available",
}
#: The server or the way to it is gone or not ready. Classes are two characters.
UNAVAILABLE = {
    "08": "connection_exception",
    "53": "insufficient_resources",
    "58": "system_error",
    "57P01": "admin_shutdown",
    "57P02": "crash_shutdown",
    "57P03": "cannot_connect_now",
    "57P05": "idle_session_timeout",
    "25006": "read_only_sql_transaction",
    # A pooler gave the session another server connection: PENSTOCK_PREPARE_STATEMENTS=off is the remedy.
    "26000": "invalid_sql_statement_name",
    "42P05": "duplicate_prepared_statement",
}
#: The work took too long. That may pass, or be the work's own doing, so it counts as an attempt.
TOO_LONG = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57014": "query_canceled",
}
#: The database is not as this release needs it: rolled out too early, or rights are missing.
NOT_AS_NEEDED = {
    "3D000": Code.STORAGE_UNAVAILABLE,
    "28000": Code.STORAGE_PERMISSION_DENIED,
    "28P01": Code.STORAGE_PERMISSION_DENIED,
    "42501": Code.STORAGE_PERMISSION_DENIED,
    "3F000": Code.STORAGE_SCHEMA_OUTDATED,
    "42P01": Code.STORAGE_SCHEMA_OUTDATED,
    "42703": Code.STORAGE_SCHEMA_OUTDATED,
    "42883": Code.STORAGE_SCHEMA_OUTDATED,
}


class StorageConflictError(PenstockError):
    """Raised when a transaction lost against another one; it was rolled back."""


def storage_error(error: Exception) -> PenstockError:
    """Our error for one of psycopg's. Its message names the SQLSTATE, never a value."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return UnavailableError(Code.STORAGE_UNAVAILABLE, "no connection to PostgreSQL could be had in time")
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _without_state(error)
    return _lost_to_another(error, state) or _with_state(error, state)


def _lost_to_another(error: Exception, state: str) -> StorageConflictError | None:
    """A conflict, where the same transaction may well succeed at once."""
    told = CONFLICTS.get(state)
    if _is_partition_attached(error):
        told = "a partition was attached"
    elif is_stale_plan(error):
        told = "a table was migrated"
    if told is None:
        return None
    return StorageConflictError(Code.STORAGE_CONFLICT, f"the transaction was rolled back ({told})")


def _with_state(error: Exception, state: str) -> PenstockError:
    if state in TOO_LONG:
        return PenstockError(Code.STORAGE_TIMEOUT, f"PostgreSQL ended what took too long ({TOO_LONG[state]}, {state})")
    told = UNAVAILABLE.get(state) or UNAVAILABLE.get(state[:2])
    if told is not None:
        return UnavailableError(Code.STORAGE_UNAVAILABLE, f"PostgreSQL can't serve now ({told}, {state})")
    if state in NOT_AS_NEEDED:
        return PenstockError(NOT_AS_NEEDED[state], f"PostgreSQL: {_first_line(error)} ({state})")
    return PenstockError(Code.STORAGE_REFUSED, f"PostgreSQL refused a statement ({type(error).__name__}, {state})")


def is_stale_plan(error: Exception) -> bool:
    """True where a prepared statement's table was migrated: the connection is of no further use, another one is."""
    return isinstance(error, psycopg.errors.FeatureNotSupported) and "cached plan" in str(error)


def _is_partition_attached(error: Exception) -> bool:
    """True for a row that was routed to the default partition while another transaction attached its own one.

    PostgreSQL tells that as a check_violation that names no constraint ("violates partition constraint").
    """
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name is None


def _without_state(error: Exception) -> PenstockError:
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return PenstockError(Code.STORAGE_REFUSED, f"PostgreSQL refused a statement ({type(error).__name__})")
    told = str(error)
    if "password authentication failed" in told or "no password supplied" in told:
        return PenstockError(Code.STORAGE_PERMISSION_DENIED, "PostgreSQL refused the credentials of DATABASE_URL")
    if "does not exist" in told and "database" in told:
        return UnavailableError(Code.STORAGE_UNAVAILABLE, "the database that DATABASE_URL names does not exist")
    return UnavailableError(Code.STORAGE_UNAVAILABLE, f"PostgreSQL does not answer ({type(error).__name__})")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn psycopg's errors within the block into ours.

    Raises:
        PenstockError: of the `STORAGE_` family.
    """
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
        raise storage_error(error) from error
