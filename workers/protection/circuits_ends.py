"""What the end of a call says of what was called."""

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.protection.retry import Verdict, judge_failure

#: Another attempt may do better, and yet it was an answer: a transaction lost against another one.
_ANSWERS = frozenset({Code.STORAGE_CONFLICT})


def learned_nothing(error: BaseException | None) -> bool:
    """Whether a call ended so that it says nothing of what it called: interrupted, or refused before it went out."""
    if error is None:
        return False
    if not isinstance(error, Exception):
        return True
    code = error.code if isinstance(error, PenstockError) else ""
    return code == Code.CIRCUIT_OPEN or code.startswith("RATE_")


def is_failure(error: BaseException) -> bool:
    """Whether an error speaks against what was called. An error of the data is an answer, and so none."""
    if isinstance(error, PenstockError) and error.code in _ANSWERS:
        return False
    return judge_failure(error).verdict is not Verdict.PERMANENT
