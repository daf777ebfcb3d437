"""Whether a failed attempt is worth another one, as a value. The verdicts and their reasons are `decisions.py`'s."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from penstock.schemas.errors import Code, PenstockError, UnavailableError
from penstock.workers.protection.circuits_view import CircuitOpenError
from penstock.workers.protection.decisions import (
    CODES,
    EXCEPTIONS,
    HTTP_STATUSES,
    REFUSED,
    SQLSTATES,
    Decision,
    Verdict,
)

__all__ = [
    "Failure",
    "HttpAnswerError",
    "JudgedError",
    "Verdict",
    "WorthRetryingError",
    "decide_http",
    "decide_sqlstate",
    "judge_failure",
    "parse_retry_after",
]

#: Another side's wish for a later call is kept to, up to here: a mistaken one must not park a job for a year.
LONGEST_RETRY_AFTER = timedelta(days=1)


class JudgedError(PenstockError):
    """An error that knows what it means for its job, whatever its code says.

    Attributes:
        retry_after: the wait before the next attempt at the least, where somebody named one.
        blocked_by: the gate that holds the job, as job records name it; empty where the code's family says enough.
    """

    verdict: Verdict
    retry_after: timedelta | None = None
    blocked_by: str = ""


class WorthRetryingError(JudgedError):
    """Raised where another attempt may succeed, whatever the code says: an actor's own judgement."""

    verdict = Verdict.RETRY


class HttpAnswerError(JudgedError):
    """Raised by who called another side over HTTP and was answered with a failure.

    Args:
        status: of the answer; 300 and above.
        retry_after: the header of that name, as it came.
        who: whose answer it is, for the message.
    """

    def __init__(self, status: int, retry_after: str | None = None, *, who: str = "the other side") -> None:
        decision = decide_http(status)
        super().__init__(decision.code, f"{who} answered with HTTP status {status}: {decision.reason}")
        self.status = status
        self.decision = decision
        self.verdict = decision.verdict
        self.retry_after = parse_retry_after(retry_after) if retry_after is not None else None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: what it was, and what is to be done.

    Attributes:
        delay: the wait before the next attempt at the least, where somebody named one.
        blocked_by: the gate that the job waits for, such as `circuit:platform:instagram`; empty where none is known.
    """

    verdict: Verdict
    code: Code
    message: str
    delay: timedelta | None = None
    blocked_by: str = ""


def decide_sqlstate(state: str) -> Decision:
    """The row of a SQLSTATE: its own, or else its class's."""
    return SQLSTATES.get(state) or SQLSTATES.get(state[:2]) or REFUSED


def decide_http(status: int) -> Decision:
    """The row of a failed answer's status: its own, or else its hundred's.

    Raises:
        ValueError: for a status that is none, or not of a failure.
    """
    found = HTTP_STATUSES.get(status) or HTTP_STATUSES.get(status // 100)
    if found is None or status < 100:
        raise ValueError(f"{status} is no HTTP status of a failure")
    return found


def parse_retry_after(text: str, now: datetime | None = None) -> timedelta | None:
    """The wait that a `Retry-After` header asks for: seconds, or until a date; None where it can't be read.

    Bounded by a day, and never below 0.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdecimal():
        # Bounded before it becomes a duration, which can't hold any number.
        wait = timedelta(seconds=min(int(stripped[:12]), 10**9))
    else:
        try:
            until = parsedate_to_datetime(stripped)
        except ValueError:
            return None
        wait = until.replace(tzinfo=until.tzinfo or UTC) - (now or datetime.now(UTC))
    return max(timedelta(0), min(wait, LONGEST_RETRY_AFTER))


def judge_failure(error: BaseException) -> Failure:
    """Decide by the error's type and code. An error that is none of ours may be a passing one: it is retried."""
    if isinstance(error, JudgedError):
        return Failure(error.verdict, error.code, error.message, error.retry_after, error.blocked_by)
    if isinstance(error, PenstockError):
        decision = CODES.get(error.code) or _by_type(error)
        delay = error.retry_after if isinstance(error, UnavailableError) else None
        blocked_by = error.blocked_by if isinstance(error, CircuitOpenError) else ""
        return Failure(decision.verdict, error.code, error.message, delay, blocked_by)
    decision = _by_type(error)
    return Failure(decision.verdict, decision.code, f"the actor raised {type(error).__name__}")


def _by_type(error: BaseException) -> Decision:
    return next(decision for kind, decision in EXCEPTIONS if isinstance(error, kind))
