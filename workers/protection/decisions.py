"""What each failure means for its job: one table, as data. `retry.py` looks things up in it.

SQLSTATEs: PostgreSQL's documentation, appendix A; a row stands for one code or, with two characters, for a class, and
a code's row goes before its class's. HTTP statuses: RFC 9110 and RFC 6585; a row stands for one status or, below 10,
for the hundred. Exceptions: the first row whose type fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import redis

from penstock.schemas.errors import (
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)


class Verdict(StrEnum):
    """What a failure means for its job."""

    #: Another attempt may succeed; attempts are counted.
    RETRY = "retry"
    #: The job is not to blame: a dependency is away. It is tried until it is back.
    WAIT = "wait"
    #: No attempt can succeed.
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the table.

    Attributes:
        reason: why this verdict, in words that may be told to anybody.
        at_once: the same transaction is run again first, a few times within a second; the queue comes after that.
        doubts: the server itself may be away, which is to be asked before the job is judged.
    """

    verdict: Verdict
    code: Code
    reason: str
    at_once: bool = False
    doubts: bool = False


def _conflict(reason: str) -> Decision:
    return Decision(Verdict.WAIT, Code.STORAGE_CONFLICT, reason, at_once=True)


def _away(reason: str) -> Decision:
    return Decision(Verdict.WAIT, Code.STORAGE_UNAVAILABLE, reason, at_once=True, doubts=True)


def _short_of(reason: str) -> Decision:
    return Decision(Verdict.WAIT, Code.STORAGE_UNAVAILABLE, reason)


def _too_long(reason: str) -> Decision:
    return Decision(Verdict.RETRY, Code.STORAGE_TIMEOUT, reason)


def _forbidden(reason: str) -> Decision:
    return Decision(Verdict.WAIT, Code.STORAGE_PERMISSION_DENIED, reason)


def _outdated(reason: str) -> Decision:
    return Decision(Verdict.WAIT, Code.STORAGE_SCHEMA_OUTDATED, reason)


#: Failures of PostgreSQL that carry no SQLSTATE, or more than one can tell.
LOST = "the connection is lost"
POOL_EXHAUSTED = "no connection in time"
TOO_MANY_CLIENTS = "too many clients"
CREDENTIALS_REFUSED = "the credentials are refused"
NO_DATABASE = "no such database"
STALE_PLAN = "a table was migrated"
PARTITION_ATTACHED = "a partition was attached"

SQLSTATES: Mapping[str, Decision] = {
    # The transaction lost against another one; the same transaction may well succeed at once.
    "40001": _conflict("serialization_failure"),
    "40P01": _conflict("deadlock_detected"),
    "55P03": _conflict("lock_not_available"),
    STALE_PLAN: _conflict("a table was migrated under a prepared statement"),
    PARTITION_ATTACHED: _conflict("a partition was attached"),
    # The server or the way to it is gone, or is not ready.
    "08": _away("connection_exception"),
    "57P01": _away("admin_shutdown"),
    "57P02": _away("crash_shutdown"),
    "57P03": _away("cannot_connect_now"),
    "57P04": _away("database_dropped"),
    "57P05": _away("idle_session_timeout"),
    "25006": _away("read_only_sql_transaction: this server is a replica, or became one"),
    LOST: _away("the connection is lost, or could not be made"),
    # A thread that has waited for a connection has waited long enough: the queue waits better.
    POOL_EXHAUSTED: Decision(
        Verdict.WAIT, Code.STORAGE_UNAVAILABLE, "no connection to PostgreSQL could be had in time", doubts=True
    ),
    # The server is there and short of something. Coming again at once would only add to that.
    "53": _short_of("insufficient_resources"),
    "53300": _short_of("too_many_connections"),
    TOO_MANY_CLIENTS: _short_of("the server takes no more connections"),
    "58": _short_of("system_error"),
    "3D000": _short_of("the database that DATABASE_URL names does not exist"),
    NO_DATABASE: _short_of("the database that DATABASE_URL names does not exist"),
    # A pooler gave the session another server connection: PENSTOCK_PREPARE_STATEMENTS=off is the remedy.
    "26000": Decision(Verdict.WAIT, Code.STORAGE_UNAVAILABLE, "invalid_sql_statement_name", at_once=True),
    "42P05": Decision(Verdict.WAIT, Code.STORAGE_UNAVAILABLE, "duplicate_prepared_statement", at_once=True),
    # The work took too long. That may pass, or be the work's own doing, so it counts as an attempt.
    "25P03": _too_long("idle_in_transaction_session_timeout"),
    "25P04": _too_long("transaction_timeout"),
    "57014": _too_long("query_canceled"),
    # The database is not as this release needs it: rolled out too early, or rights are missing.
    "28": _forbidden("invalid_authorization_specification"),
    "42501": _forbidden("insufficient_privilege"),
    CREDENTIALS_REFUSED: _forbidden("PostgreSQL refused the credentials of DATABASE_URL"),
    "3F000": _outdated("invalid_schema_name"),
    "42P01": _outdated("undefined_table"),
    "42703": _outdated("undefined_column"),
    "42883": _outdated("undefined_function"),
}
#: Every other one: data that does not fit (22, 23), a statement that is wrong (42), a fault within PostgreSQL (XX).
REFUSED = Decision(Verdict.PERMANENT, Code.STORAGE_REFUSED, "the statement fails the same way each time")


def _answered(verdict: Verdict, reason: str) -> Decision:
    return Decision(verdict, Code.PLATFORM_API_ERROR, reason)


def _late(verdict: Verdict, reason: str) -> Decision:
    return Decision(verdict, Code.PLATFORM_API_TIMEOUT, reason)


#: A failed answer's `Retry-After` is kept to, whichever of the rows with RETRY or WAIT it is.
HTTP_STATUSES: Mapping[int, Decision] = {
    3: _answered(Verdict.PERMANENT, "a redirection that is not followed"),
    4: _answered(Verdict.PERMANENT, "the request itself is at fault, and stays so"),
    5: _answered(Verdict.RETRY, "the other side failed, which may pass"),
    408: _late(Verdict.RETRY, "the other side waited too long for the request"),
    423: _answered(Verdict.RETRY, "the thing is locked, which may pass"),
    425: _answered(Verdict.RETRY, "the request came too early"),
    429: Decision(Verdict.WAIT, Code.RATE_LIMIT_EXCEEDED, "a limit was reached, which is not the job's fault"),
    501: _answered(Verdict.PERMANENT, "the other side can't do that at all"),
    503: _answered(Verdict.WAIT, "the other side is away or overloaded, and says so"),
    504: _late(Verdict.RETRY, "the other side waited too long for somebody else"),
    505: _answered(Verdict.PERMANENT, "the other side does not speak this version of HTTP"),
    529: _answered(Verdict.WAIT, "the other side is overloaded, and says so (no standard status)"),
}


def _held(code: Code, reason: str) -> tuple[Code, Decision]:
    return code, Decision(Verdict.WAIT, code, reason)


def _passing(code: Code, reason: str) -> tuple[Code, Decision]:
    return code, Decision(Verdict.RETRY, code, reason)


#: Codes of posts, accounts and platforms of which another attempt, or waiting, is worth something. The others are told
#: of what no attempt changes: a post that is refused, has expired, was changed too late, or needs an operator's word.
_PUBLISHING = dict(
    (
        _held(Code.ACCOUNT_DISABLED, "an operator took the account out of use, for a while"),
        _held(Code.ACCOUNT_TOKEN_EXPIRED, "the account waits for a person who authorises it anew"),
        _held(Code.ACCOUNT_TOKEN_UNREADABLE, "a key is missing here until an operator adds it"),
        _held(Code.CIRCUIT_OPEN, "a circuit lets no call in for now"),
        _held(Code.PLATFORM_ACCOUNT_RESTRICTED, "the platform holds the account back until its owner has put it right"),
        _held(Code.PLATFORM_NOT_READY, "the platform still works on what was prepared"),
        _held(Code.PLATFORM_PERMISSION_DENIED, "rights are missing until the account is authorised with them"),
        _held(Code.PLATFORM_TOKEN_INVALID, "the token is to be refreshed, or the account authorised anew"),
        _held(Code.PLATFORM_UNAVAILABLE, "the platform can't be reached, and nothing was sent"),
        _held(Code.RATE_LIMIT_EXCEEDED, "a limit was reached, which is not the job's fault"),
        _passing(Code.PLATFORM_API_ERROR, "the platform failed, which may pass"),
        _passing(Code.PLATFORM_API_TIMEOUT, "the platform did not answer in time"),
        _passing(Code.PLATFORM_HANDLE_EXPIRED, "what is gone is prepared anew"),
        _passing(Code.PLATFORM_MEDIA_UNREACHABLE, "the media could not be fetched, which may pass"),
        _passing(Code.PLATFORM_OUTCOME_UNKNOWN, "the next attempt looks up what became of it"),
        _passing(Code.POST_CHANGED, "the next attempt reads the post as it is by then"),
    )
)

#: Codes of ours whose verdict does not follow from the error's type.
CODES: Mapping[Code, Decision] = _PUBLISHING | {
    Code.QUEUE_UNAVAILABLE: Decision(Verdict.WAIT, Code.QUEUE_UNAVAILABLE, "Redis is away"),
    Code.STORAGE_CONFLICT: _conflict("lost against other transactions"),
    Code.STORAGE_PERMISSION_DENIED: _forbidden("rights are missing until an operator grants them"),
    Code.STORAGE_SCHEMA_OUTDATED: _outdated("the schema is older than this release until it is migrated"),
    Code.STORAGE_TIMEOUT: _too_long("the statement or the transaction ran over its limit"),
    Code.STORAGE_UNAVAILABLE: _away("PostgreSQL is away or overloaded"),
}

#: By type, the first that fits. Text of a foreign exception is never told: it can quote an answer.
EXCEPTIONS: tuple[tuple[type[BaseException], Decision], ...] = (
    (UnavailableError, Decision(Verdict.WAIT, Code.INTERNAL_ERROR, "a dependency is away")),
    (InvalidInputError, Decision(Verdict.PERMANENT, Code.INTERNAL_ERROR, "what was sent can't be accepted as it is")),
    (NotFoundError, Decision(Verdict.PERMANENT, Code.INTERNAL_ERROR, "what the job names is not there")),
    (ConflictError, Decision(Verdict.PERMANENT, Code.INTERNAL_ERROR, "a known id came with other content")),
    (PenstockError, Decision(Verdict.PERMANENT, Code.INTERNAL_ERROR, "told on purpose, of what no attempt changes")),
    (redis.ConnectionError, Decision(Verdict.WAIT, Code.QUEUE_UNAVAILABLE, "Redis is away")),
    (redis.TimeoutError, Decision(Verdict.WAIT, Code.QUEUE_UNAVAILABLE, "Redis does not answer in time")),
    (TimeoutError, Decision(Verdict.RETRY, Code.INTERNAL_ERROR, "something took too long, which may pass")),
    (OSError, Decision(Verdict.RETRY, Code.INTERNAL_ERROR, "the network or a disk failed, which may pass")),
    (MemoryError, Decision(Verdict.RETRY, Code.INTERNAL_ERROR, "memory was short, which may pass")),
    (BaseException, Decision(Verdict.RETRY, Code.INTERNAL_ERROR, "none of ours: it may pass, and a few tries tell")),
)
