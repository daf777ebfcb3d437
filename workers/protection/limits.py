"""Rate limits that hold across all processes, and blocks that a provider's answer asks for.

Each call is one step that Redis runs as one atomic step, by its own clock: several limits are taken all or nothing, and
what is refused is not counted. `lua/limits.lua` tells how, decision 10 why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.scripts import Argument, Scripts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.workers.protection.keys import GATE_STEPS, gate_keys

#: Windows of limits: a shorter one is no use over a network, and units beyond a month are somebody's bookkeeping.
SHORTEST_WINDOW = timedelta(milliseconds=10)
LONGEST_WINDOW = timedelta(days=31)
#: A provider that asks for more is asked again after this: its answer may be a mistake.
LONGEST_BLOCK = timedelta(days=7)

_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class LimitUse:
    """So much of a key's limit is wanted.

    Attributes:
        key: such as `account:123` or `tenant:acme/kind:submission_batch.write`. A key has one window at a time: two
            limits of one account are two keys.
        limit: units in any window; None where the caller sets none. Operators' overrides and blocks hold even then.
        window: 10 ms to 31 days, in whole milliseconds.
        weight: units that this use costs.
        default_key: a name whose override holds for all keys that give it and have none of their own, such as
            `platform:instagram`.
        once: a job that asks again within the window takes nothing more, and is let in though the limit is full by
            then. Blocks still refuse it, and so does a limit below its weight. Never let in ahead.

    Raises:
        InvalidInputError: `REQUEST_USAGE` where one of them is out of bounds.
    """

    key: str
    limit: int | None
    window: timedelta
    weight: int = 1
    default_key: str = ""
    once: bool = False

    def __post_init__(self) -> None:
        if not self.key or self.weight < 1 or (self.limit is not None and self.limit < 0):
            raise InvalidInputError(Code.REQUEST_USAGE, "a use of a limit has a key, a limit of 0 or more, a weight")
        if not SHORTEST_WINDOW <= self.window <= LONGEST_WINDOW or self.window % _MILLISECOND:
            told = f"a window has {SHORTEST_WINDOW} to {LONGEST_WINDOW}, in whole milliseconds, not {self.window}"
            raise InvalidInputError(Code.REQUEST_USAGE, told)

    def arguments(self, job: str) -> tuple[Argument, ...]:
        """The use as steps read it, of a job that is named so where it has a name."""
        limit = -1 if self.limit is None else self.limit
        return (self.key, limit, self.window // _MILLISECOND, self.weight, self.default_key, job if self.once else "")


def tenant_use(tenant: str, kind: str, limit: int, window: timedelta, *, once: bool = False) -> LimitUse:
    """One job of a kind, of the limit that each tenant has for each kind; `limit` 0 is no limit, as in the settings.

    Operators override it as `tenant:acme/kind:submission_batch.write`, `tenant:acme/*`, `tenant:*`, or for a kind and
    all tenants as `tenant/kind:submission_batch.write`.
    """
    return LimitUse(f"tenant:{tenant}/kind:{kind}", limit or None, window, default_key=f"tenant/kind:{kind}", once=once)


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to `take`, all instants by Redis's clock.

    Attributes:
        allowed: whether all was taken; otherwise nothing was.
        blocked_by: what holds longest, `limit:<key>` or `blocked:<key>`; None where allowed.
        retry_after: how long until it is worth asking again; zero where allowed. A weight above its limit can never
            fit, and is told a minute, since an operator may change the limit.
        at: when Redis answered; what was taken counts from then on.
        remaining: by key, what is left of the limit after this call; None where no limit holds.
        resets: by key, from when the same weight fits (again).
    """

    allowed: bool
    blocked_by: str | None
    retry_after: timedelta
    at: datetime
    remaining: Mapping[str, int | None]
    resets: Mapping[str, datetime]


class RateLimits:
    """Takes of limits. Safe to share between threads.

    How long a call can take is the client's matter: `connect_gates` makes one that gives up within 0.5 s.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._scripts = Scripts(client, GATE_STEPS)
        self._keys = gate_keys(namespace)

    def take(self, uses: Sequence[LimitUse], *, line_up: bool = False, job: str = "") -> Taken:
        """Take of several limits at once, all or nothing, in one round trip.

        Uses of the same key add up. A call whose answer was lost may have counted: then less is allowed, never more.

        Where many wait for one limit, `line_up` makes `retry_after` this one's turn: each that is refused is told a
        later instant than the one before, so that they don't all come back for the first unit that leaves. Nothing is
        set aside. Who comes back and is refused again, since something ran late, asks without it: it has its place.

        `job` is by what a use that counts `once` knows who asks again; without it each call counts.

        Raises:
            UnavailableError: `QUEUE_UNAVAILABLE` where Redis does not answer; the setting
                `PENSTOCK_GATES_WHEN_REDIS_DOWN` says what its caller makes of that.
            PenstockError: `QUEUE_REFUSED`.
        """
        arguments = [argument for use in uses for argument in use.arguments(job)]
        with redis_errors("taking of limits"):
            answer = self._scripts.run("take", self._keys, len(uses), int(line_up), *arguments)
        return _taken(uses, answer)

    def block(self, key: str, until: datetime | timedelta, reason: str) -> datetime:
        """Refuse all uses of a key until an instant, or for so long by Redis's clock: what a provider's answer says.

        Of several blocks the longest wins, a week at the most. Returns until when the key is blocked now.

        Raises:
            UnavailableError: `QUEUE_UNAVAILABLE`.
            PenstockError: `QUEUE_REFUSED`.
        """
        at_ms: Argument = "" if isinstance(until, timedelta) else (until - _EPOCH) // _MILLISECOND
        lasting_ms = until // _MILLISECOND if isinstance(until, timedelta) else 0
        arguments = (at_ms, lasting_ms, reason[:_REASON_LENGTH], LONGEST_BLOCK // _MILLISECOND)
        with redis_errors("blocking a key"):
            until_ms: int = self._scripts.run("block", self._keys, key, *arguments)
        return _EPOCH + until_ms * _MILLISECOND


def _taken(uses: Sequence[LimitUse], answer: Sequence[Any]) -> Taken:
    at_us, blocked_by, retry_ms, *states = answer
    remaining: dict[str, int | None] = {}
    resets: dict[str, datetime] = {}
    for use, left, fits_us in zip(uses, states[::2], states[1::2], strict=True):
        remaining[use.key] = None if left < 0 else left
        resets[use.key] = max(_EPOCH + fits_us * _MICROSECOND, resets.get(use.key, _EPOCH))
    return Taken(
        allowed=not blocked_by,
        blocked_by=blocked_by.decode() or None,
        retry_after=retry_ms * _MILLISECOND,
        at=_EPOCH + at_us * _MICROSECOND,
        remaining=remaining,
        resets=resets,
    )
