"""What a producer is told of its jobs, and what it may choose about them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from penstock.producers.queue.enqueueing import Offer, Offered
from penstock.producers.queue.records import JobState
from penstock.schemas.errors import ConflictError
from penstock.schemas.job import EncodedPayload


# Not frozen, since that takes three times as long to make, and each job has one; but it can be hashed as if it were.
@dataclass(slots=True, unsafe_hash=True)
class Enqueued:
    """What a producer is told of a job that Redis has.

    Attributes:
        known: the same job was enqueued before, and nothing was added.
        state: where the job stands now.
        durability: `redis`: the job is as safe as Redis's own persistence (and replication, where replicas are asked
            to confirm) makes it.
    """

    job_id: uuid.UUID
    kind: str
    queue: str
    known: bool = False
    state: JobState = JobState.READY
    durability: str = "redis"


@dataclass(frozen=True, slots=True)
class Windows:
    """How long a job is known after it is done: with an idempotency key, and without one."""

    keyed: timedelta = timedelta(days=7)
    unkeyed: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have a job before its producer is told that it is enqueued, and the wait for them."""

    acks: int = 0
    wait: timedelta = timedelta(milliseconds=500)


_KNOWN, _CONFLICT = Offer.KNOWN, Offer.CONFLICT


def as_enqueued(payloads: Sequence[EncodedPayload], told: Sequence[Offered]) -> list[Enqueued]:
    """The queue's answers as a producer is told them."""
    return [
        Enqueued(offered.job_id, payload.kind, payload.queue, offered.offer is _KNOWN, offered.state)
        for payload, offered in zip(payloads, told, strict=True)
    ]


def require_no_conflict(payloads: Sequence[EncodedPayload], told: Sequence[Offered]) -> None:
    """See that no job was known with other content.

    Raises:
        ConflictError: with the code that its kind names, for the first one; `details["conflicts"]` has the ids of all.
    """
    conflicts = [place for place, offered in enumerate(told) if offered.offer is _CONFLICT]
    if not conflicts:
        return
    first = payloads[conflicts[0]]
    what = f"{first.idempotency_key!r}" if first.idempotency_key else f"the job {told[conflicts[0]].job_id}"
    others = f" ({len(conflicts)} of the jobs are in conflict)" if len(conflicts) > 1 else ""
    raise ConflictError(
        first.conflict_code,
        f"{what} is known with other content{others}",
        details={"conflicts": [str(told[place].job_id) for place in conflicts]},
    )
