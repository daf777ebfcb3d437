"""Whether a failed attempt is worth another one, as a value."""

from dataclasses import dataclass
from enum import StrEnum

from penstock.schemas.errors import Code, PenstockError, UnavailableError


class Verdict(StrEnum):
    """What a failure means for its job."""

    #: Another attempt may succeed; attempts are counted.
    RETRY = "retry"
    #: The job is not to blame: a dependency is away. It is tried until it is back.
    WAIT = "wait"
    #: No attempt can succeed.
    PERMANENT = "permanent"


class WorthRetryingError(PenstockError):
    """Raised where another attempt may succeed, whatever the code says: an actor's own judgement."""


#: Codes of failures that lie outside the job.
_NOT_THE_JOBS_FAULT = frozenset(
    {
        Code.QUEUE_UNAVAILABLE,
        Code.STORAGE_CONFLICT,
        Code.STORAGE_PERMISSION_DENIED,
        Code.STORAGE_SCHEMA_OUTDATED,
        Code.STORAGE_UNAVAILABLE,
    }
)


#: Codes of failures that may pass, or may be the job's own doing.
_MAY_PASS = frozenset({Code.STORAGE_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: what it was, and what is to be done."""

    verdict: Verdict
    code: Code
    message: str


def judge_failure(error: BaseException) -> Failure:
    """Decide by the error's type and code. An error that is none of ours may be a passing one: it is retried."""
    if not isinstance(error, PenstockError):
        return Failure(Verdict.RETRY, Code.INTERNAL_ERROR, f"the actor raised {type(error).__name__}")
    if isinstance(error, WorthRetryingError) or error.code in _MAY_PASS:
        return Failure(Verdict.RETRY, error.code, error.message)
    if isinstance(error, UnavailableError) or error.code in _NOT_THE_JOBS_FAULT:
        return Failure(Verdict.WAIT, error.code, error.message)
    return Failure(Verdict.PERMANENT, error.code, error.message)
