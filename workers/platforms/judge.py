"""From a reply to an answer: a platform's table decides, and what the platform says in words is left behind."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from penstock.workers.platforms.answers import Answer, AnswerClass, LimitFact, Phase, PlatformFault
from penstock.workers.platforms.classification.row import Row, Table, find_row
from penstock.workers.platforms.http import Call, PlatformHttp, Reply
from penstock.workers.platforms.platform import AccountRef
from penstock.workers.platforms.usage import SHORTEST_PAUSE, limit_facts, told_wait

#: What platforms put into codes and trace ids may be recorded; anything else may hold anything.
_PLAIN = re.compile(r"[A-Za-z0-9._:/=+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Judge:
    """Sends a platform's calls and judges what comes back.

    Attributes:
        keys: the keys of a failed reply, the most exact first; the first one is recorded as the platform's code.
        trace: what the platform's support asks for, where the reply has it.
        wait: how long a limit holds, by key, where only a clock can tell; None for the row's own wait.
    """

    platform: str
    table: Table
    http: PlatformHttp
    keys: Callable[[Reply], Sequence[str]]
    trace: Callable[[Reply], str | None]
    wait: Callable[[str], timedelta | None] = lambda _key: None

    def call(self, call: Call, phase: Phase, account: AccountRef, *, wanted: str = "") -> tuple[dict[str, Any], Reply]:
        """Make a call that answers with a JSON object, which has the member `wanted` where one is named.

        Raises:
            PlatformFault: for anything else.
        """
        reply = self.http.send(call)
        found = reply.json()
        if not reply.ok or found is None or "error" in found or (wanted and not found.get(wanted)):
            raise self.fault(reply, phase, account)
        return found, reply

    def fault(self, reply: Reply, phase: Phase, account: AccountRef, *keys: str) -> PlatformFault:
        """What a reply means, as a fault; by its own keys where none are given."""
        return PlatformFault(self.answer(reply, phase, account, *keys))

    def answer(self, reply: Reply, phase: Phase, account: AccountRef, *given: str) -> Answer:
        """What a reply means."""
        keys = given or tuple(self.keys(reply))
        key, row = find_row(self.table, keys)
        cls = row.cls(phase)
        facts = self.facts(reply, account)
        retry_after = told_wait(reply.headers, facts) or self.wait(key) or row.wait
        if cls is AnswerClass.LIMITED:
            retry_after = max(retry_after or SHORTEST_PAUSE, SHORTEST_PAUSE)
        if AnswerClass.LIMITED in {cls, row.prepare}:
            # One that is ambiguous at the visible step holds the account all the same.
            facts = (*facts, self._block(row, account, retry_after or SHORTEST_PAUSE, key))
        trace = self.trace(reply)
        return Answer(
            cls=cls,
            phase=phase,
            code=row.code,
            detail=f"{self.platform}: {row.meaning}",
            platform_code=keys[0] if _PLAIN.fullmatch(keys[0]) else key,
            trace_id=trace if trace and _PLAIN.fullmatch(trace) else None,
            retry_after=retry_after,
            limit_facts=facts,
            request=reply.call.summary(),
            seconds=reply.seconds,
            restart=row.restart,
            refresh=row.refresh,
            circuit=row.circuit,
        )

    def facts(self, reply: Reply, account: AccountRef) -> tuple[LimitFact, ...]:
        """What a reply's headers tell of limits."""
        return limit_facts(reply.headers, self.platform, account.account_id)

    def _block(self, row: Row, account: AccountRef, wait: timedelta, key: str) -> LimitFact:
        name = f"platform:{self.platform}" if row.scope == "platform" else f"account:{account.account_id}"
        return LimitFact(name, wait, reason=key)


def settle_duplicate(fault: PlatformFault, tries: int) -> PlatformFault:
    """A refusal as duplicate may be our own post only where an earlier try may have made it."""
    answer = fault.answer
    if answer.cls is not AnswerClass.DUPLICATE or tries > 0:
        return fault
    return PlatformFault(replace(answer, cls=AnswerClass.PERMANENT))


def failure_keys(reply: Reply) -> list[str]:
    """Keys that need no look at the body: how the call failed, and the status."""
    if reply.failure:
        return [reply.failure]
    if reply.ok:
        return ["unreadable"]
    return [f"http:{reply.status}", f"http:{reply.status // 100}", "unknown"]
