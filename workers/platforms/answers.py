"""What a platform's answer means for a publication: a value, the same for all platforms.

An answer says nothing that the post says, and no token: it may be stored, logged and shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from penstock.schemas.errors import Code
from penstock.workers.protection.decisions import Verdict
from penstock.workers.protection.retry import JudgedError


class Phase(StrEnum):
    """The part of a publication that a call belongs to. Only `PUBLISH` can make something visible."""

    PREPARE = "prepare"
    PUBLISH = "publish"
    CONFIRM = "confirm"
    LOOK_UP = "look_up"


class AnswerClass(StrEnum):
    """What is to be done after an answer."""

    OK = "ok"
    #: What was prepared is not ready yet: wait, then `prepare` goes on with the same handle.
    PENDING = "pending"
    #: Nothing visible can have happened: the same call may be made again.
    RETRY = "retry"
    #: It may have happened: look it up, never just call again.
    AMBIGUOUS = "ambiguous"
    #: No attempt can succeed.
    PERMANENT = "permanent"
    #: The token or the rights; `Answer.refresh` tells whether a fresh token may help.
    AUTH = "auth"
    #: Not now: `Answer.limit_facts` name the keys to block. Costs no attempt.
    LIMITED = "limited"
    #: The same post is there already: look it up, and adopt it where it is ours.
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class LimitFact:
    """What an answer told of a limit, for the rate limits.

    Attributes:
        key: the limits' key, such as `account:<account id>` or `platform:youtube`.
        blocked_for: refuse uses of the key for so long; None where there is room.
        used_percent: how much of the platform's budget is used, where told.
        remaining: units left, where told.
        reason: the header or the platform's code that said so.
    """

    key: str
    blocked_for: timedelta | None = None
    used_percent: int | None = None
    remaining: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a platform, or the lack of one, judged.

    Attributes:
        phase: what the call was a part of.
        detail: what happened, in our words.
        platform_code: the platform's own code, such as `9007/2207027`, `quotaExceeded`, or how the call failed.
        trace_id: what the platform's support asks for (`fbtrace_id`), where given.
        retry_after: wait so long before the next call; None where the caller's own backoff decides.
        request: a summary without values: `{"method", "path", "parameters"}`, the path as a template.
        seconds: how long the call took.
        restart: the handle is void; once nothing was published by it, prepare anew without handle and state.
        refresh: with `AUTH`, a refreshed token may be accepted; otherwise a person has to authorise again.
        circuit: the failure is the platform's and counts for its circuit.
        asked: the platform was called; not where media of ours could not be had for it.
    """

    cls: AnswerClass
    phase: Phase
    code: Code
    detail: str
    platform_code: str = ""
    trace_id: str | None = None
    retry_after: timedelta | None = None
    limit_facts: tuple[LimitFact, ...] = ()
    request: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    restart: bool = False
    refresh: bool = False
    circuit: bool = False
    asked: bool = True


#: What a fault means for a job whose actor makes nothing better of it. The next attempt looks up what is ambiguous.
_VERDICTS: Mapping[AnswerClass, Verdict] = {
    AnswerClass.OK: Verdict.RETRY,
    AnswerClass.PENDING: Verdict.WAIT,
    AnswerClass.RETRY: Verdict.RETRY,
    AnswerClass.AMBIGUOUS: Verdict.RETRY,
    AnswerClass.PERMANENT: Verdict.PERMANENT,
    AnswerClass.AUTH: Verdict.WAIT,
    AnswerClass.LIMITED: Verdict.WAIT,
    AnswerClass.DUPLICATE: Verdict.RETRY,
}


class PlatformFault(JudgedError):  # noqa: N818 - a fault is what an answer tells; whether it is an error its class says
    """Raised by every call of a platform that did not come to its value; `answer` says what to do."""

    def __init__(self, answer: Answer) -> None:
        told = f"{answer.detail} ({answer.platform_code})" if answer.platform_code else answer.detail
        super().__init__(answer.code, told)
        self.answer = answer
        self.verdict = _VERDICTS[answer.cls]
        self.retry_after = answer.retry_after
        if answer.cls is AnswerClass.LIMITED:
            held = (f"blocked:{fact.key}" for fact in answer.limit_facts if fact.blocked_for is not None)
            self.blocked_by = next(held, "")

    @property
    def counts_for_circuit(self) -> bool | None:
        """Whether it speaks against the platform; None where the platform was not called."""
        return self.answer.circuit if self.answer.asked else None
