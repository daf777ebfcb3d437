"""How many jobs of a queue are where, all at one instant."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from penstock.producers.queue.instants import instant

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """Who stopped the leases of a queue, why, and when."""

    by: str
    reason: str
    at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The pause as commands and endpoints show it."""
        return {"by": self.by, "reason": self.reason, "at": self.at and self.at.isoformat()}


def parse_pause(text: bytes | None) -> Pause | None:
    """The pause as the queue notes it; None where it is not paused."""
    if text is None:
        return None
    noted = json.loads(text)
    return Pause(str(noted.get("by", "")), str(noted.get("reason", "")), instant(noted.get("at")))


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """A queue's jobs by place, and what it has counted since it began, at one instant.

    Attributes:
        accepted, done, purged, discarded: jobs since the queue began.
        ready, scheduled, leased, parked, dead: jobs that are there now.
        workers: workers that serve the queue and are heard of.
        oldest_ready_age: how long the job that is ready longest has been so; None where none is ready.
        next_due: when the next scheduled job becomes ready.
        ready_by_tenant: of the 100 tenants with the most ready jobs.
        layout: of the queue's keys; 0 where nothing was ever enqueued.
        unarchived: of the dead ones, those that only Redis has; the others wait for an operator in PostgreSQL.
        archived: jobs since the queue began whose dead letters went to PostgreSQL, whatever became of them there.
    """

    queue: str
    ready: int
    scheduled: int
    leased: int
    parked: int
    dead: int
    accepted: int
    done: int
    purged: int
    discarded: int
    workers: int
    paused: Pause | None
    oldest_ready_age: timedelta | None
    next_due: datetime | None
    layout: int
    ready_by_tenant: dict[str, int] = field(default_factory=dict)
    unarchived: int = 0
    archived: int = 0

    @property
    def waiting(self) -> int:
        """Jobs that are neither done nor dead."""
        return self.ready + self.scheduled + self.leased + self.parked

    @property
    def unaccounted(self) -> int:
        """Jobs that were accepted and are nowhere; below 0 where more are there than were accepted. Always 0."""
        gone = self.done + self.purged + self.discarded + self.archived
        return self.accepted - gone - self.waiting - self.unarchived

    def as_dict(self) -> dict[str, Any]:
        """The counts as commands and endpoints show them."""
        age = self.oldest_ready_age
        return {
            "queue": self.queue,
            "ready": self.ready,
            "scheduled": self.scheduled,
            "leased": self.leased,
            "parked": self.parked,
            "dead": self.dead,
            "accepted": self.accepted,
            "done": self.done,
            "purged": self.purged,
            "discarded": self.discarded,
            "archived": self.archived,
            "unarchived": self.unarchived,
            "unaccounted": self.unaccounted,
            "workers": self.workers,
            "oldest_ready_seconds": None if age is None else round(age.total_seconds(), 3),
            "next_due": self.next_due and self.next_due.isoformat(),
            "paused": self.paused and self.paused.as_dict(),
            "ready_by_tenant": self.ready_by_tenant,
        }


def parse_counts(queue: str, answer: Any) -> QueueCounts:
    """The counts as `counts.lua` tells them."""
    (layout, accepted, done, purged, discarded, ready, scheduled, leased, parked, dead, workers, paused, *times), by = (
        answer
    )
    oldest, next_due, now, archived, open_letters = times
    return QueueCounts(
        queue=queue,
        ready=ready,
        scheduled=scheduled,
        leased=leased,
        parked=parked,
        dead=dead + open_letters,
        unarchived=dead,
        archived=archived,
        accepted=accepted,
        done=done,
        purged=purged,
        discarded=discarded,
        workers=workers,
        paused=parse_pause(paused),
        oldest_ready_age=None if oldest is None else max(now - oldest, 0) * _MILLISECOND,
        next_due=instant(next_due),
        layout=layout,
        ready_by_tenant={tenant.decode(): count for tenant, count in zip(by[::2], by[1::2], strict=True)},
    )
