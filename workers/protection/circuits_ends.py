"""What the end of a call says of what was called."""

from typing import Protocol, runtime_checkable

from penstock.schemas.errors import Code, PenstockError
from penstock.workers.protection.retry import Verdict, judge_failure

#: Another attempt may do better, and yet it was an answer: a transaction lost against another one, a token that is
#: refused, a thing that is not ready or not there any more.
_ANSWERS = frozenset(
    {
        Code.STORAGE_CONFLICT,
        Code.PLATFORM_ACCOUNT_RESTRICTED,
        Code.PLATFORM_HANDLE_EXPIRED,
        Code.PLATFORM_NOT_READY,
        Code.PLATFORM_PERMISSION_DENIED,
        Code.PLATFORM_TOKEN_INVALID,
    }
)
#: Families of codes that speak of what was to be sent, or of whom it was for.
_OWN_MATTERS = ("ACCOUNT_", "POST_")


@runtime_checkable
class KnowsForCircuit(Protocol):
    """An error that knows what it says of what was called, whatever its code is."""

    @property
    def counts_for_circuit(self) -> bool | None:
        """True where it speaks against what was called, False where it is an answer, None where nothing was asked."""
        ...


def learned_nothing(error: BaseException | None) -> bool:
    """Whether a call ended so that it says nothing of what it called: interrupted, or refused before it went out."""
    if error is None:
        return False
    if isinstance(error, KnowsForCircuit):
        return error.counts_for_circuit is None
    if not isinstance(error, Exception):
        return True
    code = error.code if isinstance(error, PenstockError) else ""
    return code == Code.CIRCUIT_OPEN or code.startswith("RATE_")


def is_failure(error: BaseException) -> bool:
    """Whether an error speaks against what was called. An error of the data is an answer, and so none."""
    if isinstance(error, KnowsForCircuit):
        return error.counts_for_circuit is True
    if isinstance(error, PenstockError) and (error.code in _ANSWERS or error.code.startswith(_OWN_MATTERS)):
        return False
    return judge_failure(error).verdict is not Verdict.PERMANENT
