"""What a queue has counted since it began, and the jobs of it that could run now."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, Self, cast

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts

#: Lists of tenants that are looked at, and jobs of each: what one look costs Redis is bounded by the two.
_TENANTS, _SAMPLE = 20, 50
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counters of a queue since it began.

    Attributes:
        accepted: jobs taken in.
        done, retried, postponed, died: ends of leases. A job that is retried is counted each time.
        leased_total: leases.
        waited_ms: how long those had been ready before, together.
        busy_ms: how long worker threads were at work on jobs, together.
    """

    accepted: int = 0
    done: int = 0
    retried: int = 0
    postponed: int = 0
    died: int = 0
    leased_total: int = 0
    waited_ms: int = 0
    busy_ms: int = 0

    @property
    def ran(self) -> int:
        """Attempts that had an end of their own."""
        return self.done + self.retried + self.died

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """The counters by name; one that is missing is 0."""
        return cls(**{field.name: int(found.get(field.name) or 0) for field in fields(cls)})

    def since(self, before: "Tally") -> "Tally":
        """What was counted since `before`; all of it where the queue began anew meanwhile."""
        mine, theirs = self.as_dict(), before.as_dict()
        if any(mine[name] < theirs[name] for name in mine):
            return self
        return Tally(**{name: mine[name] - theirs[name] for name in mine})


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Jobs of a list: how many there are, and of those that were looked at how many by tenant and kind."""

    jobs: int
    looked_at: int
    by_kind: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Runnable:
    """The jobs of a queue that are ready or soon due, at one instant."""

    paused: bool
    leased: int
    workers: int
    tally: Tally
    groups: Sequence[JobGroup]


class Tallies:
    """Reads what queues count. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._namespace = namespace

    def read(self, queue: str) -> Tally:
        """The counters of a queue.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        names = [field.name for field in fields(Tally)]
        with redis_errors("reading counters"):
            found = cast("list[bytes | None]", self._client.hmget(self._keys(queue).key("meta"), names))
        return Tally.of(dict(zip(names, found, strict=True)))

    def enqueued(self, queue: str) -> dict[str, int]:
        """Jobs that a queue took in, by kind; empty text for those beyond the first 100 kinds.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("reading counters"):
            found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys(queue).key("enqueued")))
        return {kind.decode(errors="replace"): int(count) for kind, count in found.items()}

    def runnable(self, queue: str, horizon: timedelta) -> Runnable:
        """The jobs that are ready, or due within `horizon`.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        with redis_errors("looking at runnable jobs"):
            facts, *groups = self._scripts.run(
                "runnable", self._keys(queue), horizon // _MILLISECOND, _TENANTS, _SAMPLE
            )
        paused, leased, workers, done, retried, died, busy_ms = facts
        tally = Tally(done=done, retried=retried, died=died, busy_ms=busy_ms)
        return Runnable(bool(paused), leased, workers, tally, [_group(*group) for group in groups])

    def _keys(self, queue: str) -> QueueKeys:
        return QueueKeys(self._namespace, queue)


def _group(jobs: int, looked_at: int, *flat: Any) -> JobGroup:
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    by_kind = {
        (tenant.decode(errors="replace"), kind.decode(errors="replace")): count for tenant, kind, count in triples
    }
    return JobGroup(jobs, looked_at, by_kind)
