"""The gates of a job: paused? circuit closed? limit left? All asked in one round trip, before the job runs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.instants import instant
from penstock.producers.queue.scripts import Argument, Scripts
from penstock.schemas.errors import PenstockError
from penstock.workers.protection.ahead import LONGEST, Ahead
from penstock.workers.protection.keys import GATE_STEPS, gate_keys
from penstock.workers.protection.limits import LimitUse
from penstock.workers.protection.mirror import Mirror
from penstock.workers.protection.pauses import PausedKey, Pauses

_log = logging.getLogger(__name__)

#: Where Redis does not answer and the setting says closed, jobs come again after this.
_AWAY = timedelta(seconds=2)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class JobGates:
    """What a job has to pass.

    Attributes:
        keys: gate keys that may be paused, such as `kind:scheduled_post.publish`, `account:123`.
        circuits: names of circuits that have to let it in; it keeps the probe that one reserves for `holder`.
        uses: limits that it takes of, all or nothing.
    """

    keys: tuple[str, ...] = ()
    circuits: tuple[str, ...] = ()
    uses: tuple[LimitUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One job's question.

    Attributes:
        holder: names this run of the job, for circuits.
        lines_up: whether a limit that refuses it is to tell it its turn; not again for one that was told.
        job: names the job in all its runs, for limits that it takes of once; without it each run takes.
    """

    holder: str
    gates: JobGates
    lines_up: bool
    job: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job may not run now.

    Attributes:
        blocked_by: `paused:<key>`, `circuit:<name>`, `limit:<key>`, `blocked:<key>` or `redis`.
        retry_after: when it is worth asking again; None for a pause, which has no end of its own.
        reason: the operator's, of a pause.
        turn: when that is, by Redis's clock; None where Redis was not asked, or it has no end. The order of turns is
            that of the questions, whatever the answers' way took.
    """

    blocked_by: str
    retry_after: timedelta | None
    reason: str = ""
    turn: datetime | None = field(default=None, compare=False)


class Gates:
    """Asks gates. Safe to share between threads.

    Nothing is asked of Redis for a job that no pause, circuit or limit concerns: which keys are paused and whether
    operators have set limits is known from copies in memory, a second old. Where many jobs come with the same gates,
    and none of these is near to refusing one, a question lets some in ahead, for 0.1 s at the most.

    Args:
        client: one with little patience, as `connect_gates` makes it.
        overrides: the copy of the limits that operators have set.
        when_redis_is_down: `open` lets jobs run then, `closed` has them wait.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        pauses: Pauses,
        overrides: "Mirror[bytes]",
        when_redis_is_down: Literal["open", "closed"],
    ) -> None:
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)
        self._pauses = pauses
        self._overrides = overrides
        self._open = when_redis_is_down == "open"
        self._away = False
        self._ahead: Ahead[JobGates] = Ahead()

    def concerns_none(self, gates: JobGates) -> bool:
        """Whether any number of jobs of these gates may run now, and nobody need be asked for any of them."""
        return not self._concerns(gates)

    def lets_in(self, gates: JobGates) -> bool:
        """Whether a job of these gates may run and nobody need be asked; where it was let in ahead, that is used up."""
        if gates.circuits or gates.uses:
            return not self._concerns(gates) or (self._paused(gates) is None and self._ahead.spend(gates))
        return self._paused(gates) is None

    def ask(self, questions: Sequence[Question]) -> list[Refusal | None]:
        """What refuses each job; None for each that may run. What it takes of limits then is taken.

        One round trip for all, whether `lets_in` would have spared it or not.
        """
        return self._ask(questions) if questions else []

    def _concerns(self, gates: JobGates) -> bool:
        if gates.circuits or self._paused(gates) is not None:
            return True
        return any(use.limit is not None for use in gates.uses) or bool(gates.uses and self._overrides.values)

    def _ask(self, questions: Sequence[Question]) -> list[Refusal | None]:
        arguments: list[Argument] = [len(questions), LONGEST // _MILLISECOND]
        asked_at = self._ahead.now()
        # Of a delivery's jobs with the same gates the last one asks for those to come.
        last = {question.gates: place for place, question in enumerate(questions)}
        wanted = [
            self._ahead.wanted(one.gates) if last[one.gates] == place and _may_go_ahead(one.gates) else 0
            for place, one in enumerate(questions)
        ]
        for question, ahead in zip(questions, wanted, strict=True):
            arguments += _arguments(question, ahead)
        try:
            with redis_errors("asking gates"):
                now_ms, *answer = self._scripts.run("gate", self._keys, *arguments)
        except PenstockError as error:
            return [self._refusal_without_redis(error)] * len(questions)
        self._away = False
        refusals = [_refusal(now_ms, *answer[at : at + 3]) for at in range(0, len(answer), 5)]
        for place, (question, refusal) in enumerate(zip(questions, refusals, strict=True)):
            if refusal is not None:
                self._ahead.revoke(question.gates)
            elif wanted[place]:
                size, lasting_ms = answer[5 * place + 3 : 5 * place + 5]
                self._ahead.grant(question.gates, size, asked_at, lasting_ms * _MILLISECOND)
        return refusals

    def _paused(self, gates: JobGates) -> PausedKey | None:
        return self._pauses.paused(gates.keys)

    def _refusal_without_redis(self, error: PenstockError) -> Refusal | None:
        if not self._away:
            what = "jobs run without asking them" if self._open else "jobs wait"
            _log.warning("%s; %s until Redis answers", error.message, what, extra={"code": error.code})
        self._away = True
        return None if self._open else Refusal("redis", _AWAY)


def _may_go_ahead(gates: JobGates) -> bool:
    """Whether jobs of these gates may be let in before anybody knows which they are."""
    return not any(use.once for use in gates.uses)


def _arguments(question: Question, ahead: int) -> list[Argument]:
    gates = question.gates
    return [
        question.holder,
        int(question.lines_up),
        ahead,
        len(gates.keys),
        *gates.keys,
        len(gates.circuits),
        *gates.circuits,
        len(gates.uses),
        *(argument for use in gates.uses for argument in use.arguments(question.job)),
    ]


def _refusal(now_ms: int, blocked_by: bytes, retry_ms: int, reason: bytes) -> Refusal | None:
    if not blocked_by:
        return None
    if retry_ms < 0:
        return Refusal(blocked_by.decode(), None, reason.decode(errors="replace"))
    return Refusal(blocked_by.decode(), timedelta(milliseconds=retry_ms), turn=instant(now_ms + retry_ms))
