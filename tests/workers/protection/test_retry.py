"""Whether a failure is worth another attempt: by table, row by row."""

from datetime import UTC, datetime, timedelta

import pytest
import redis

from penstock.schemas.errors import (
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from penstock.workers.database.failures import StorageConflictError
from penstock.workers.protection import decisions
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.decisions import CODES, EXCEPTIONS, HTTP_STATUSES, REFUSED, SQLSTATES
from penstock.workers.protection.retry import (
    LONGEST_RETRY_AFTER,
    Failure,
    HttpAnswerError,
    Verdict,
    WorthRetryingError,
    decide_http,
    decide_sqlstate,
    judge_failure,
    parse_retry_after,
)

RETRY, WAIT, PERMANENT = Verdict.RETRY, Verdict.WAIT, Verdict.PERMANENT
AT_ONCE, LATER, DOUBTS, SURE = True, False, True, False

#: Row -> verdict, code, run again at once within the transaction, may the server be away.
STORAGE = {
    "40001": (WAIT, Code.STORAGE_CONFLICT, AT_ONCE, SURE),
    "40P01": (WAIT, Code.STORAGE_CONFLICT, AT_ONCE, SURE),
    "55P03": (WAIT, Code.STORAGE_CONFLICT, AT_ONCE, SURE),
    decisions.STALE_PLAN: (WAIT, Code.STORAGE_CONFLICT, AT_ONCE, SURE),
    decisions.PARTITION_ATTACHED: (WAIT, Code.STORAGE_CONFLICT, AT_ONCE, SURE),
    "08": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "57P01": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "57P02": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "57P03": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "57P04": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "57P05": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    "25006": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    decisions.LOST: (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, DOUBTS),
    decisions.POOL_EXHAUSTED: (WAIT, Code.STORAGE_UNAVAILABLE, LATER, DOUBTS),
    "53": (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    "53300": (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    decisions.TOO_MANY_CLIENTS: (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    "58": (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    "3D000": (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    decisions.NO_DATABASE: (WAIT, Code.STORAGE_UNAVAILABLE, LATER, SURE),
    "26000": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, SURE),
    "42P05": (WAIT, Code.STORAGE_UNAVAILABLE, AT_ONCE, SURE),
    "25P03": (RETRY, Code.STORAGE_TIMEOUT, LATER, SURE),
    "25P04": (RETRY, Code.STORAGE_TIMEOUT, LATER, SURE),
    "57014": (RETRY, Code.STORAGE_TIMEOUT, LATER, SURE),
    "28": (WAIT, Code.STORAGE_PERMISSION_DENIED, LATER, SURE),
    "42501": (WAIT, Code.STORAGE_PERMISSION_DENIED, LATER, SURE),
    decisions.CREDENTIALS_REFUSED: (WAIT, Code.STORAGE_PERMISSION_DENIED, LATER, SURE),
    "3F000": (WAIT, Code.STORAGE_SCHEMA_OUTDATED, LATER, SURE),
    "42P01": (WAIT, Code.STORAGE_SCHEMA_OUTDATED, LATER, SURE),
    "42703": (WAIT, Code.STORAGE_SCHEMA_OUTDATED, LATER, SURE),
    "42883": (WAIT, Code.STORAGE_SCHEMA_OUTDATED, LATER, SURE),
}

HTTP = {
    3: (PERMANENT, Code.PLATFORM_API_ERROR),
    4: (PERMANENT, Code.PLATFORM_API_ERROR),
    5: (RETRY, Code.PLATFORM_API_ERROR),
    408: (RETRY, Code.PLATFORM_API_TIMEOUT),
    423: (RETRY, Code.PLATFORM_API_ERROR),
    425: (RETRY, Code.PLATFORM_API_ERROR),
    429: (WAIT, Code.RATE_LIMIT_EXCEEDED),
    501: (PERMANENT, Code.PLATFORM_API_ERROR),
    503: (WAIT, Code.PLATFORM_API_ERROR),
    504: (RETRY, Code.PLATFORM_API_TIMEOUT),
    505: (PERMANENT, Code.PLATFORM_API_ERROR),
    529: (WAIT, Code.PLATFORM_API_ERROR),
}

CODED = {
    Code.QUEUE_UNAVAILABLE: WAIT,
    Code.STORAGE_CONFLICT: WAIT,
    Code.STORAGE_PERMISSION_DENIED: WAIT,
    Code.STORAGE_SCHEMA_OUTDATED: WAIT,
    Code.STORAGE_TIMEOUT: RETRY,
    Code.STORAGE_UNAVAILABLE: WAIT,
    Code.ACCOUNT_DISABLED: WAIT,
    Code.ACCOUNT_TOKEN_EXPIRED: WAIT,
    Code.ACCOUNT_TOKEN_UNREADABLE: WAIT,
    Code.CIRCUIT_OPEN: WAIT,
    Code.PLATFORM_ACCOUNT_RESTRICTED: WAIT,
    Code.PLATFORM_API_ERROR: RETRY,
    Code.PLATFORM_API_TIMEOUT: RETRY,
    Code.PLATFORM_HANDLE_EXPIRED: RETRY,
    Code.PLATFORM_MEDIA_UNREACHABLE: RETRY,
    Code.PLATFORM_NOT_READY: WAIT,
    Code.PLATFORM_OUTCOME_UNKNOWN: RETRY,
    Code.PLATFORM_PERMISSION_DENIED: WAIT,
    Code.PLATFORM_TOKEN_INVALID: WAIT,
    Code.PLATFORM_UNAVAILABLE: WAIT,
    Code.POST_CHANGED: RETRY,
    Code.RATE_LIMIT_EXCEEDED: WAIT,
}
#: Of what publishing meets, what no attempt changes.
FOR_GOOD = {
    Code.ACCOUNT_CONFLICT,
    Code.ACCOUNT_INVALID_PLATFORM,
    Code.ACCOUNT_NOT_FOUND,
    Code.POST_CONFLICT,
    Code.POST_DUPLICATE,
    Code.POST_EMPTY,
    Code.POST_EXPIRED,
    Code.POST_MEDIA_ADDRESS_REFUSED,
    Code.POST_MEDIA_INVALID,
    Code.POST_NOT_FOUND,
    Code.POST_OPTION_INVALID,
    Code.POST_PLATFORM_ERROR,
    Code.POST_SCHEDULE_INVALID,
    Code.POST_STATE_INVALID,
    Code.POST_TEXT_INVALID,
    Code.POST_TEXT_TOO_LONG,
    Code.POST_TOO_LATE,
    Code.POST_UNKNOWN_OUTCOME,
}

TYPED = {
    UnavailableError: (WAIT, UnavailableError(Code.FORM_NOT_FOUND, "m")),
    InvalidInputError: (PERMANENT, InvalidInputError(Code.JOB_PAYLOAD_INVALID, "m")),
    NotFoundError: (PERMANENT, NotFoundError(Code.FORM_NOT_FOUND, "m")),
    ConflictError: (PERMANENT, ConflictError(Code.BATCH_CONFLICT, "m")),
    PenstockError: (PERMANENT, PenstockError(Code.STORAGE_REFUSED, "m")),
    redis.ConnectionError: (WAIT, redis.ConnectionError("m")),
    redis.TimeoutError: (WAIT, redis.TimeoutError("m")),
    TimeoutError: (RETRY, TimeoutError("m")),
    OSError: (RETRY, ConnectionResetError("m")),
    MemoryError: (RETRY, MemoryError()),
    BaseException: (RETRY, ValueError("m")),
}


def test_every_row_is_tested_and_has_a_reason() -> None:
    assert set(STORAGE) == set(SQLSTATES)
    assert set(HTTP) == set(HTTP_STATUSES)
    assert set(CODED) == set(CODES)
    assert list(TYPED) == [kind for kind, _ in EXCEPTIONS]
    rows = [*SQLSTATES.values(), *HTTP_STATUSES.values(), *CODES.values(), *(row for _, row in EXCEPTIONS), REFUSED]
    assert all(row.reason for row in rows)


@pytest.mark.parametrize("row", STORAGE)
def test_a_row_of_postgresqls_failures(row: str) -> None:
    verdict, code, at_once, doubts = STORAGE[row]
    # A class stands for each of its codes; what has no SQLSTATE is looked up by its name.
    found = decide_sqlstate(f"{row}9ZZ" if len(row) == 2 else row)
    assert (found.verdict, found.code, found.at_once, found.doubts) == (verdict, code, at_once, doubts)


@pytest.mark.parametrize("state", ["22003", "22P02", "23502", "23505", "42601", "0A000", "XX000", "57000", "25001"])
def test_any_other_sqlstate_is_refused_for_good(state: str) -> None:
    assert decide_sqlstate(state) is REFUSED
    assert (REFUSED.verdict, REFUSED.at_once, REFUSED.doubts) == (PERMANENT, LATER, SURE)


def test_a_codes_own_row_goes_before_its_class() -> None:
    assert decide_sqlstate("53300") is SQLSTATES["53300"]
    assert decide_sqlstate("53100") is SQLSTATES["53"]


@pytest.mark.parametrize("row", HTTP)
def test_a_row_of_http_statuses(row: int) -> None:
    status = row if row >= 100 else row * 100 + 7
    failure = judge_failure(HttpAnswerError(status, who="the platform"))
    assert (failure.verdict, failure.code, failure.delay) == (*HTTP[row], None)
    assert f"the platform answered with HTTP status {status}" in failure.message


@pytest.mark.parametrize("status", [0, 4, 42, 100, 200, 204, 299, 600, -1])
def test_what_is_no_failure_has_no_row(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        decide_http(status)


NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("Sat, 21 Nov 2026 12:05:00 GMT", timedelta(minutes=5)),
        ("Sat, 21 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("Sat, 21 Nov 2099 12:05:00 GMT", LONGEST_RETRY_AFTER),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after(text: str, wait: timedelta | None) -> None:
    assert parse_retry_after(text, NOW) == wait


def test_another_sides_wish_for_a_later_call_is_kept_to() -> None:
    assert judge_failure(HttpAnswerError(429, "30")).delay == timedelta(seconds=30)
    assert judge_failure(HttpAnswerError(500, "30")) == judge_failure(HttpAnswerError(500, " 30"))
    assert judge_failure(HttpAnswerError(429, "soon")).delay is None


@pytest.mark.parametrize("code", CODED)
@pytest.mark.parametrize("kind", [PenstockError, UnavailableError, StorageConflictError])
def test_a_code_of_ours_that_says_more_than_its_type(code: Code, kind: type[PenstockError]) -> None:
    assert judge_failure(kind(code, "m")) == Failure(CODED[code], code, "m")


def test_of_what_publishing_meets_every_code_is_judged() -> None:
    families = ("ACCOUNT_", "CIRCUIT_", "PLATFORM_", "POST_", "RATE_")
    assert {code for code in Code if code.startswith(families)} == FOR_GOOD | {
        code for code in CODED if code.startswith(families)
    }


@pytest.mark.parametrize("code", sorted(FOR_GOOD))
@pytest.mark.parametrize("kind", [PenstockError, InvalidInputError, NotFoundError, ConflictError])
def test_what_no_attempt_changes_is_dead_at_once(code: Code, kind: type[PenstockError]) -> None:
    assert judge_failure(kind(code, "m")) == Failure(PERMANENT, code, "m")


def test_an_open_circuit_names_itself_and_until_when() -> None:
    failure = judge_failure(CircuitOpenError("platform:instagram", timedelta(seconds=42)))
    assert (failure.verdict, failure.code, failure.delay) == (WAIT, Code.CIRCUIT_OPEN, timedelta(seconds=42))
    assert failure.blocked_by == "circuit:platform:instagram"


def test_a_dependency_that_names_a_wait_is_kept_to() -> None:
    error = UnavailableError(Code.QUEUE_UNAVAILABLE, "m", retry_after=timedelta(seconds=7))
    assert judge_failure(error).delay == timedelta(seconds=7)


@pytest.mark.parametrize("kind", TYPED)
def test_a_row_of_exceptions(kind: type[BaseException]) -> None:
    verdict, error = TYPED[kind]
    failure = judge_failure(error)
    assert failure.verdict is verdict
    if isinstance(error, PenstockError):
        assert (failure.code, failure.message) == (error.code, "m")


def test_an_actors_own_judgement_goes_before_the_table() -> None:
    assert judge_failure(WorthRetryingError(Code.STORAGE_REFUSED, "m")).verdict is RETRY
    assert judge_failure(WorthRetryingError(Code.STORAGE_UNAVAILABLE, "m")).verdict is RETRY


@pytest.mark.parametrize(
    "error", [ValueError("hunter2"), KeyError("hunter2"), MemoryError(), SystemExit("hunter2"), OSError("hunter2")]
)
def test_a_foreign_errors_text_is_not_told(error: BaseException) -> None:
    failure = judge_failure(error)
    assert (failure.verdict, failure.code) == (RETRY, Code.INTERNAL_ERROR)
    assert type(error).__name__ in failure.message
    assert "hunter2" not in failure.message
