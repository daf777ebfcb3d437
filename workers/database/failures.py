"""What PostgreSQL's errors mean to us: finds the row of `protection.decisions` that a psycopg error belongs to."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.schemas.refusals import refusal_of
from penstock.workers.protection.decisions import (
    CODES,
    CREDENTIALS_REFUSED,
    LOST,
    NO_DATABASE,
    PARTITION_ATTACHED,
    POOL_EXHAUSTED,
    REFUSED,
    SQLSTATES,
    STALE_PLAN,
    TOO_MANY_CLIENTS,
    Decision,
)
from penstock.workers.protection.retry import decide_sqlstate

#: SQLSTATEs of a transaction that lost against another one; the same transaction may well succeed at once.
CONFLICTS = {
    state: decision.reason
    for state, decision in SQLSTATES.items()
    if decision.code is Code.STORAGE_CONFLICT and len(state) == 5
}
#: What a server or a pooler says in place of a SQLSTATE, since libpq tells none of a connection that was refused.
_REFUSALS = (
    (("password authentication failed", "no password supplied"), CREDENTIALS_REFUSED),
    (
        ("too many clients", "too many connections", "connection slots are reserved", "no more connections allowed"),
        TOO_MANY_CLIENTS,
    ),
)


class StorageConflictError(PenstockError):
    """Raised when a transaction lost against another one; it was rolled back."""


def decide_storage(error: BaseException) -> Decision:
    """The row of the table for one of psycopg's errors."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return SQLSTATES[POOL_EXHAUSTED]
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _without_state(error)
    if _is_partition_attached(error):
        return SQLSTATES[PARTITION_ATTACHED]
    if is_stale_plan(error):
        return SQLSTATES[STALE_PLAN]
    return decide_sqlstate(state)


def decide_ours(error: BaseException | None) -> Decision | None:
    """The row of one of our errors of storage: by the error of PostgreSQL's that it came of, or else by its code."""
    if not isinstance(error, PenstockError):
        return None
    return CODES.get(error.code) if error.__cause__ is None else decide_storage(error.__cause__)


def is_doubtful(error: BaseException | None) -> bool:
    """Whether an error of ours means that the server may be away."""
    decision = decide_ours(error)
    return decision is not None and decision.doubts


def storage_error(error: Exception) -> PenstockError:
    """Our error for one of psycopg's. Its message names the SQLSTATE, never a value."""
    decision = decide_storage(error)
    state = getattr(error, "sqlstate", None)
    named = f"{decision.reason}, {state}" if state else decision.reason
    match decision.code:
        case Code.STORAGE_CONFLICT:
            return StorageConflictError(decision.code, f"the transaction was rolled back ({decision.reason})")
        case Code.STORAGE_TIMEOUT:
            return PenstockError(decision.code, f"PostgreSQL ended what took too long ({named})")
        case Code.STORAGE_UNAVAILABLE:
            return UnavailableError(decision.code, _words_of_unavailable(error, decision, named))
        case Code.STORAGE_REFUSED:
            told = f"{type(error).__name__}, {state}" if state else type(error).__name__
            return PenstockError(decision.code, f"PostgreSQL refused a statement ({told})")
        case _:
            told = f"PostgreSQL: {_first_line(error)} ({state})" if state else decision.reason
            return PenstockError(decision.code, told)


def is_stale_plan(error: BaseException) -> bool:
    """True where a prepared statement's table was migrated: the connection is of no further use, another one is."""
    return isinstance(error, psycopg.errors.FeatureNotSupported) and "cached plan" in str(error)


def _is_partition_attached(error: BaseException) -> bool:
    """True for a row that was routed to the default partition while another transaction attached its own one.

    PostgreSQL tells that as a check_violation that names no constraint ("violates partition constraint").
    """
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name is None


def _without_state(error: BaseException) -> Decision:
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return REFUSED
    told = str(error)
    for words, row in _REFUSALS:
        if any(word in told for word in words):
            return SQLSTATES[row]
    if "does not exist" in told and "database" in told:
        return SQLSTATES[NO_DATABASE]
    return SQLSTATES[LOST]


def _words_of_unavailable(error: Exception, decision: Decision, named: str) -> str:
    if decision is SQLSTATES[LOST]:
        refusal = refusal_of(error)
        if refusal is not None:
            return f"no connection to PostgreSQL: {refusal}"
        return f"PostgreSQL does not answer ({type(error).__name__})"
    if decision in (SQLSTATES[POOL_EXHAUSTED], SQLSTATES[NO_DATABASE]):
        return named
    return f"PostgreSQL can't serve now ({named})"


def _first_line(error: BaseException) -> str:
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
