"""`penstock worker` with a fault in it: killed at a named point, with a wrong clock, or without one of its guards.

What runs in production knows nothing of this: the parts that it is made of are replaced here, before it starts.

    PENSTOCK_TEST_FAULT=committed:3    kill -9 when the third transaction has committed
    PENSTOCK_TEST_CLOCK=120            its clock is 120 seconds fast (below 0: slow)
    PENSTOCK_TEST_WITHOUT=recovery     without that guard: what a control run is for
"""

import datetime as dt
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

# It names the class of instants to a decoder, which takes no other; it asks no clock.
import penstock.workers.broker.opening  # noqa: F401  before the clock is made wrong

FAULT, CLOCK, WITHOUT = "PENSTOCK_TEST_FAULT", "PENSTOCK_TEST_CLOCK", "PENSTOCK_TEST_WITHOUT"


def set_clock(seconds: float) -> None:
    """Make this process's idea of the time of day wrong, for whoever imports a clock from now on."""
    true_time, true_time_ns, true = time.time, time.time_ns, dt.datetime

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, true)

    class Wrong(true, metaclass=Kind):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return true.now(tz) + dt.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> dt.datetime:
            return true.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=seconds)

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_time_ns() + int(seconds * 1e9)
    dt.datetime = Wrong  # type: ignore[misc]


if os.environ.get(CLOCK):
    set_clock(float(os.environ[CLOCK]))

# Imported only now: from here on everything takes the clock as it is.
import redis  # noqa: E402
from redis.connection import AbstractConnection  # noqa: E402

from penstock.producers.queue.scripts import script  # noqa: E402
from penstock.schemas.errors import Code  # noqa: E402
from penstock.workers.broker.dependencies import Dependency  # noqa: E402
from penstock.workers.broker.leases import LeaseAnswer, Leases, Settlement, Verb  # noqa: E402
from penstock.workers.cli import main  # noqa: E402
from penstock.workers.database.transaction import Transaction, Transactions  # noqa: E402
from penstock.workers.protection.decisions import CODES, SQLSTATES, Verdict  # noqa: E402

#: A frozen moment in which Redis runs what was sent to it.
_GIVE_REDIS = 0.1
_STEPS = ("lease", "start", "settle", "tick")
_here = threading.local()


class Fault:
    """Kills this process at the nth passage of a point."""

    def __init__(self, text: str) -> None:
        self.point, _, nth = text.partition(":")
        self._left = int(nth or 1)
        self._lock = threading.Lock()

    def passes(self, point: str) -> bool:
        """Whether this passage of a point is the one to die at."""
        if point != self.point:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0

    def pass_by(self, point: str) -> None:
        """Die here, if this is the passage."""
        if self.passes(point):
            die()


def die() -> None:
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal is on its way; nothing more may happen


def inject(fault: Fault) -> None:
    """Put the points into the parts that a worker is made of."""
    _around(Transactions, "_begin", before=lambda *_: fault.pass_by("before-begin"))
    _around(
        Transaction,
        "commit",
        before=lambda transaction: transaction._connection and fault.pass_by("before-commit"),
        after=lambda transaction, _: transaction._connection and fault.pass_by("after-commit"),
    )
    _around(Leases, "lease", after=lambda _, answer: answer.jobs and fault.pass_by("after-lease"))
    _around(
        Leases,
        "start",
        before=lambda *_: fault.pass_by("before-start"),
        after=lambda *_: fault.pass_by("after-start"),
    )
    _around(
        Leases,
        "settle",
        before=lambda *_: fault.pass_by("before-settle"),
        after=lambda *_: fault.pass_by("after-settle"),
    )
    _around(
        Leases,
        "tick",
        before=lambda leases, queue: _promotes(leases, queue) and fault.pass_by("before-promotion"),
        after=lambda _, tick: tick.promoted and fault.pass_by("after-promotion"),
    )
    _lose_answers(fault)


def _around(
    owner: type, name: str, before: Callable[..., object] | None = None, after: Callable[..., object] | None = None
) -> None:
    """Have `before` called with the object and the arguments, `after` with the object and the answer."""
    original = getattr(owner, name)

    def replacement(self: Any, *arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(self, *arguments)
        answer = original(self, *arguments, **named)
        if after is not None:
            after(self, answer)
        return answer

    setattr(owner, name, replacement)


def _promotes(leases: Leases, queue: str) -> bool:
    """Whether the tick that comes now will find jobs that are due."""
    due = leases._client.zcount(leases.keys(queue).key("scheduled"), "-inf", time.time() * 1000)
    _here.promotes = due > 0
    return due > 0


def _lose_answers(fault: Fault) -> None:
    """The points `lease-unanswered` and so on: Redis runs the step, and this process dies before it hears of it."""
    points = {script(name).sha: f"{name}-unanswered" for name in _STEPS}
    original = AbstractConnection.send_command

    def send_command(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        point = points.get(str(arguments[1])) if arguments[0] == "EVALSHA" else None
        if point == "tick-unanswered" and not getattr(_here, "promotes", False):
            return
        if point and fault.passes(point):
            time.sleep(_GIVE_REDIS)
            die()

    AbstractConnection.send_command = send_command  # type: ignore[method-assign]
    # A step that Redis does not know by its name is sent a second time, in full: let it know all.
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        for name in _STEPS:
            client.script_load(script(name).source)


def without_recovery() -> None:
    """Nobody is ever taken for dead."""

    def before(leases: Leases, queue: str) -> None:
        workers = leases.keys(queue).key("workers")
        for boot in leases._client.zrange(workers, 0, -1):
            leases._client.zadd(workers, {boot: 1e15}, xx=True)

    _around(Leases, "tick", before=before)


def without_server_clock() -> None:
    """Leases end by this worker's own clock."""

    def before(leases: Leases, queue: str) -> None:
        workers = leases.keys(queue).key("workers")
        for boot in leases._client.zrangebyscore(workers, "-inf", time.time() * 1000):
            if boot.decode() != leases.boot:
                leases._client.zadd(workers, {boot: 0})

    _around(Leases, "tick", before=before)


def without_replay() -> None:
    """A step that Redis did not answer is taken for done."""
    original = Leases.settle

    def settle(self: Leases, queue: str, settlements: list[Settlement]) -> list[bool]:
        try:
            return original(self, queue, settlements)
        except redis.RedisError:
            return [True] * len(settlements)

    Leases.settle = settle  # type: ignore[method-assign, assignment]


def without_suspicion() -> None:
    """All jobs of a lease count as started, and so as what a worker died of."""

    def after(leases: Leases, answer: LeaseAnswer) -> None:
        for job in answer.jobs:
            leases.start(job)

    _around(Leases, "lease", after=after)


def without_release() -> None:
    """Jobs that a stopping worker holds are not given back."""
    original = Leases.settle

    def settle(self: Leases, queue: str, settlements: list[Settlement]) -> list[bool]:
        kept = [settlement for settlement in settlements if settlement.verb is not Verb.RELEASE]
        if kept:
            original(self, queue, kept)
        return [True] * len(settlements)

    Leases.settle = settle  # type: ignore[method-assign, assignment]


def without_holding() -> None:
    """Jobs are taken while PostgreSQL is away."""
    Dependency.is_away = property(lambda _: False)  # type: ignore[method-assign, assignment]
    Dependency.is_away_after_asking = lambda *_: False  # type: ignore[method-assign]


def without_tries() -> None:
    """A transaction that lost is given up at once, and its failure counts as an attempt."""
    Transactions._is_worth_repeating = lambda *_: False  # type: ignore[method-assign]
    for state in ("40001", "40P01"):
        SQLSTATES[state] = replace(SQLSTATES[state], verdict=Verdict.RETRY)  # type: ignore[index]
    CODES[Code.STORAGE_CONFLICT] = replace(CODES[Code.STORAGE_CONFLICT], verdict=Verdict.RETRY)  # type: ignore[index]


_GUARDS = {
    "holding": without_holding,
    "tries": without_tries,
    "recovery": without_recovery,
    "server-clock": without_server_clock,
    "replay": without_replay,
    "suspicion": without_suspicion,
    "release": without_release,
}


if __name__ == "__main__":
    # The fault comes last, and so strikes after what a missing guard does.
    for guard in filter(None, os.environ.get(WITHOUT, "").split(",")):
        _GUARDS[guard]()
    if os.environ.get(FAULT):
        inject(Fault(os.environ[FAULT]))
    sys.argv = ["penstock", "worker"]
    sys.exit(main())
