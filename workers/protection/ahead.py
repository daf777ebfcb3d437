"""Jobs that gates have let in ahead, so that a stream of them costs few questions."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

#: What is let in ahead may be used this long at the most; `lua/gate.lua` says how long it is for each job's gates.
LONGEST = timedelta(milliseconds=100)
#: Jobs that are let in ahead at first, and at the most.
FIRST, MOST = 4, 128
#: Gates of which that is remembered.
_REMEMBERED = 1_000
#: Seconds. Questions that are further apart get nothing ahead; an answer takes no longer.
_RARE, _ANSWERED_WITHIN = 0.2, 0.5

Gates = TypeVar("Gates", bound=Hashable)


@dataclass(slots=True)
class _Part:
    left: int
    until: float


@dataclass(slots=True)
class _Grant:
    """What was let in. `asking_until`: somebody asks for more just now, unless the answer got lost."""

    asked_at: float
    size: int = 0
    some_ran_out: bool = False
    asking_until: float = 0.0
    parts: deque[_Part] = field(default_factory=deque)

    def drop_what_ran_out(self, now: float) -> None:
        while self.parts and now >= self.parts[0].until:
            self.size = max(0, self.size - self.parts.popleft().left)
            self.some_ran_out = True


class Ahead(Generic[Gates]):
    """What is left of that, by gates. Safe to share between threads.

    How many are wanted follows from how many were used: twice as many where all were, as many where some ran out, and
    none where questions are rare. One thread at a time asks for more, while half is left for the others.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: OrderedDict[Gates, _Grant] = OrderedDict()

    def now(self) -> float:
        """To be taken before the question, from when on the grant may be used."""
        return self._clock()

    def spend(self, gates: Gates) -> bool:
        """Whether one more job of these gates is let in already; it is counted."""
        with self._lock:
            grant, now = self._grants.get(gates), self._clock()
            if grant is None:
                return False
            grant.drop_what_ran_out(now)
            left = sum(part.left for part in grant.parts)
            if not left or (left <= grant.size // 2 and now >= grant.asking_until):
                return False
            grant.parts[0].left -= 1
            if not grant.parts[0].left:
                grant.parts.popleft()
            return True

    def wanted(self, gates: Gates) -> int:
        """How many jobs of these gates to ask for, beside the one at hand; where that is not 0, tell by `grant`."""
        with self._lock:
            now = self._clock()
            grant = self._grants.setdefault(gates, _Grant(float("-inf")))
            self._forget()
            rare, grant.asked_at = now - grant.asked_at > _RARE, now
            if rare or now < grant.asking_until:
                return 0
            wanted = grant.size if grant.some_ran_out else min(MOST, max(FIRST, 2 * grant.size))
            grant.some_ran_out = False
            grant.asking_until = now + _ANSWERED_WITHIN if wanted else 0.0
            return wanted

    def grant(self, gates: Gates, size: int, asked_at: float, lasting: timedelta) -> None:
        """Note an answer: so many were let in, to be used for so long from the question on."""
        with self._lock:
            grant = self._grants.setdefault(gates, _Grant(self._clock()))
            grant.size, grant.asking_until = size, 0.0
            if size:
                grant.parts.append(_Part(size, asked_at + lasting.total_seconds()))
            self._grants.move_to_end(gates)

    def revoke(self, gates: Gates) -> None:
        """Let nobody in by what is left: a job of these gates was just refused."""
        with self._lock:
            grant = self._grants.get(gates)
            if grant is not None:
                grant.size, grant.asking_until = 0, 0.0
                grant.parts.clear()

    def _forget(self) -> None:
        while len(self._grants) > _REMEMBERED:
            self._grants.popitem(last=False)
