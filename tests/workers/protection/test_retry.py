"""Whether a failure is worth another attempt: by table."""

import pytest

from penstock.schemas.errors import (
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from penstock.workers.database.failures import StorageConflictError
from penstock.workers.protection.retry import Failure, Verdict, WorthRetryingError, judge_failure


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UnavailableError(Code.STORAGE_UNAVAILABLE, "m"), Verdict.WAIT),
        (UnavailableError(Code.QUEUE_UNAVAILABLE, "m"), Verdict.WAIT),
        (PenstockError(Code.STORAGE_UNAVAILABLE, "m"), Verdict.WAIT),
        (StorageConflictError(Code.STORAGE_CONFLICT, "m"), Verdict.WAIT),
        (PenstockError(Code.STORAGE_PERMISSION_DENIED, "m"), Verdict.WAIT),
        (PenstockError(Code.STORAGE_SCHEMA_OUTDATED, "m"), Verdict.WAIT),
        (PenstockError(Code.STORAGE_REFUSED, "m"), Verdict.PERMANENT),
        (PenstockError(Code.QUEUE_REFUSED, "m"), Verdict.PERMANENT),
        (WorthRetryingError(Code.STORAGE_REFUSED, "m"), Verdict.RETRY),
        (InvalidInputError(Code.JOB_PAYLOAD_INVALID, "m"), Verdict.PERMANENT),
        (InvalidInputError(Code.JOB_UNKNOWN_KIND, "m"), Verdict.PERMANENT),
        (InvalidInputError(Code.BATCH_TOO_LARGE, "m"), Verdict.PERMANENT),
        (ConflictError(Code.BATCH_CONFLICT, "m"), Verdict.PERMANENT),
        (NotFoundError(Code.FORM_NOT_FOUND, "m"), Verdict.PERMANENT),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.code}" if isinstance(value, PenstockError) else str(value),
)
def test_an_error_of_ours_is_judged_by_its_type_and_code(error: PenstockError, verdict: Verdict) -> None:
    assert judge_failure(error) == Failure(verdict, error.code, "m")


@pytest.mark.parametrize("error", [ValueError("hunter2"), KeyError("hunter2"), MemoryError(), SystemExit("hunter2")])
def test_any_other_error_is_retried_and_its_text_is_not_told(error: BaseException) -> None:
    failure = judge_failure(error)
    assert (failure.verdict, failure.code) == (Verdict.RETRY, Code.INTERNAL_ERROR)
    assert type(error).__name__ in failure.message
    assert "hunter2" not in failure.message
