"""What one run of a job says to a platform: let in once by its circuit, each step recorded, its limits listened to."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from penstock.schemas.errors import PenstockError
from penstock.workers.platforms.answers import AnswerClass, LimitFact, Phase, PlatformFault
from penstock.workers.platforms.http import Reply, heard_replies
from penstock.workers.platforms.platform import Found, NotFound, Prepared, Published, Sighting
from penstock.workers.posts.attempts import PublishAttempt
from penstock.workers.posts.publishing import PostToPublish
from penstock.workers.protection.circuits import Circuits
from penstock.workers.protection.circuits_breaker import LetIn
from penstock.workers.protection.limits import RateLimits

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=Prepared | Published | Sighting)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks to platforms in this process. `worker` and `release` are noted of each call; `clock` is aware."""

    circuits: Circuits
    limits: RateLimits
    worker: str
    release: str
    clock: Callable[[], datetime]


class Conversation:
    """The calls of one run. Use it as a context manager: its end tells the circuit how they went.

    Args:
        speaker: of the process.
        post: what is published.
        circuit: guards the platform.
        holder: the text by which the gates of this run were asked.
    """

    def __init__(self, speaker: Speaker, post: PostToPublish, circuit: str, holder: str) -> None:
        self._speaker = speaker
        self._post = post
        self._circuit = circuit
        self._holder = holder
        self._let_in: LetIn | None = None
        self._asked = False
        self._spoke = False
        self._failure: PlatformFault | None = None
        self._records: list[PublishAttempt] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._asked and self._spoke:
            self._speaker.circuits.tell(self._circuit, self._let_in, self._failure)
        elif self._asked:
            self._speaker.circuits.leave(self._circuit, self._let_in)

    def take_records(self) -> list[PublishAttempt]:
        """The calls since this was asked last, to be stored with what they led to."""
        records, self._records = self._records, []
        return records

    def call(self, phase: Phase, attempt: int, step: Callable[[], _T]) -> _T:
        """Take one step.

        Args:
            phase: what the step is a part of.
            attempt: visible steps that were begun by now.
            step: calls the platform.

        Raises:
            PlatformFault: as the platform does.
            CircuitOpenError: before anything is sent.
        """
        self.enter()
        at = self._speaker.clock()
        with heard_replies() as replies:
            try:
                answer = step()
            except PlatformFault as fault:
                self._hear_fault(at, attempt, fault)
                raise
        # Some steps need no call: an address that was told already is not asked for.
        if replies:
            self._hear_answer(at, attempt, phase, answer, replies)
        return answer

    def enter(self) -> None:
        """Ask the circuit, once for all calls; before a visible step is begun, so that none is begun in vain.

        Raises:
            CircuitOpenError: it lets no call in.
        """
        if not self._asked:
            self._let_in = self._speaker.circuits.ask(self._circuit, self._holder)
            self._asked = True

    def _hear_fault(self, at: datetime, attempt: int, fault: PlatformFault) -> None:
        answer = fault.answer
        counts = fault.counts_for_circuit
        self._spoke = self._spoke or counts is not None
        # One failure among the calls of a run is enough: the others may not have been asked what this one was.
        if counts and self._failure is None:
            self._failure = fault
        self._block(answer.limit_facts)
        self._record(
            at,
            attempt,
            phase=answer.phase,
            answer_class=answer.cls,
            request=answer.request,
            code=answer.code,
            platform_code=answer.platform_code or None,
            trace_id=answer.trace_id,
            detail=answer.detail,
            seconds=answer.seconds,
        )

    def _hear_answer(
        self, at: datetime, attempt: int, phase: Phase, answer: Prepared | Published | Sighting, replies: list[Reply]
    ) -> None:
        self._spoke = True
        if isinstance(answer, Prepared | Published):
            self._block(answer.limit_facts)
        self._record(
            at,
            attempt,
            phase=phase,
            answer_class=AnswerClass.OK,
            request=replies[-1].call.summary(),
            detail=_told(answer),
            seconds=sum(reply.seconds for reply in replies),
        )

    def _record(self, at: datetime, attempt: int, **told: Any) -> None:
        post, speaker = self._post, self._speaker
        told = {"code": None, "platform_code": None, "trace_id": None} | told
        self._records.append(
            PublishAttempt(
                at=at,
                post_id=post.post_id,
                tenant=post.tenant,
                account_id=post.account_id,
                platform=post.platform,
                attempt=attempt,
                worker=speaker.worker,
                release=speaker.release,
                **told,
            )
        )

    def _block(self, facts: Iterable[LimitFact]) -> None:
        for fact in facts:
            if fact.blocked_for is not None and fact.blocked_for > timedelta():
                try:
                    self._speaker.limits.block(fact.key, fact.blocked_for, fact.reason)
                except PenstockError as error:
                    # The platform says it again to whoever asks it next.
                    _log.warning("a limit of %s was not noted: %s", fact.key, error.message, extra={"code": error.code})


def _told(answer: Prepared | Published | Sighting) -> str:
    match answer:
        case Prepared(ready=ready):
            return "ready" if ready else "in preparation"
        case Published():
            return "published"
        case Found():
            return "found"
        case NotFound(certain=certain):
            return "not there" if certain else "not found"
        case _:
            return "can't be told"
