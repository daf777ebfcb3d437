"""Puts jobs into queues: any number in one round trip, each at most once however often it is sent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

import redis

from penstock.producers.queue.bounds import Bounds, MemoryWatch, QueueFullError, refusal_of
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.records import JobState
from penstock.producers.queue.scripts import Argument, Scripts
from penstock.schemas.errors import Code, UnavailableError

#: One call holds so much of Redis's single thread that others should get a turn.
BATCH_JOBS = 1_000
BATCH_BYTES = 16 * 1024 * 1024

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Not frozen, nor is its answer: a frozen one takes three times as long to make, and each job has one of each.
@dataclass(slots=True)
class NewJob:
    """A job as a queue takes it.

    Attributes:
        message: the envelope: header line, newline, payload.
        digest: of the producer's content; tells a resend from a conflict.
        keep: how long the job is known after it is done.
        due: when it becomes ready: an instant (aware), or a time from when Redis has it; None for at once.
        urgent: once it is ready it goes before the jobs that are not, as often as these leave it half of the room.
        revives: the death whose dead letter this is a new life of: where the job is dead by that one or an earlier
            one, it runs again, with this content; in any other state it is known, and nothing happens.
        id_text: `job_id` as text, where its maker has it at hand.
    """

    job_id: UUID
    kind: str
    tenant: str
    message: bytes = field(repr=False)
    digest: str
    keep: timedelta
    due: datetime | timedelta | None = None
    urgent: bool = False
    revives: datetime | None = None
    id_text: str = field(default="", repr=False, compare=False)


class Offer(StrEnum):
    """What became of a job that was offered to a queue."""

    ACCEPTED = "accepted"
    #: The same job was accepted before; nothing was added.
    KNOWN = "known"
    #: The same job had ended, and has a new life.
    REVIVED = "revived"
    #: Its id is that of a job with other content; nothing was added.
    CONFLICT = "conflict"


#: By Redis's words: looked up for each job, where to make a member of its text would take several times as long.
_OFFERS = {offer.value.encode(): offer for offer in Offer}
_STATES = {state.value.encode(): state for state in JobState}
_FULL = b"full"
#: What most jobs are told.
_ACCEPTED, _READY = Offer.ACCEPTED, JobState.READY
#: What the step is told once of jobs that follow each other.
_COMMON = attrgetter("kind", "tenant", "keep", "due", "urgent", "revives")


@dataclass(slots=True)
class Offered:
    """A queue's answer to one job. `state` is the job's state now."""

    job_id: UUID
    offer: Offer
    state: JobState


class Enqueuer:
    """Puts jobs into queues. Safe to share between threads.

    Args:
        replica_acks: replicas that must have a job before it counts as enqueued.
        replica_ack_wait: how long to wait for them.
        bounds: how full a queue may get; None where nothing is to be refused for that, since it was accepted before.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        *,
        replica_acks: int = 0,
        replica_ack_wait: timedelta = timedelta(milliseconds=500),
        bounds: Bounds | None = None,
    ) -> None:
        self._scripts = Scripts(client)
        self._namespace = namespace
        self._replica_acks = replica_acks
        self._replica_ack_wait = replica_ack_wait
        #: As the step takes them: while Redis has memory for new jobs, and while it has not.
        self._limits = [bounds.as_argument(closed=closed) if bounds else "" for closed in (False, True)]
        self._memory = MemoryWatch(client, bounds.memory_share if bounds else 0)
        self._keys: dict[str, QueueKeys] = {}

    def enqueue(self, queue: str, jobs: Sequence[NewJob], *, revive: Collection[JobState] = ()) -> list[Offered]:
        """Offer jobs to a queue, in order; when this returns, Redis has them (and the replicas that were asked for).

        One round trip for each 1,000 jobs or 16 MiB. A conflict is told of the job that it concerns, and the others
        are enqueued. A known job whose state is in `revive` (of DEAD and DONE) gets a new life; of one that tells
        what it `revives` that decides.

        A full queue refuses what is new to it and nothing else: it takes jobs in their order as long as there is room,
        and what comes after a round trip that was refused in part is not offered.

        Raises:
            QueueFullError: `QUEUE_FULL`, or `QUEUE_OUT_OF_MEMORY` where Redis is nearly at its limit; tells which jobs
                the queue has. Send the others again, later.
            UnavailableError: `QUEUE_UNAVAILABLE`; `QUEUE_OUT_OF_MEMORY` where Redis is at its limit;
                `QUEUE_NOT_CONFIRMED` where Redis has the jobs and too few replicas do. Send the same jobs again: ids
                make it safe.
            PenstockError: `QUEUE_REFUSED`.
            ConflictError: `QUEUE_LAYOUT_NEWER`.
        """
        keys = self._keys.get(queue) or self._keys.setdefault(queue, QueueKeys(self._namespace, queue))
        answers: list[Offered | None] = []
        for part in _parts(jobs):
            with redis_errors("enqueueing"):
                unusual, *refusal = self._offer(keys, part, revive)
            answers += _told(part, unusual)
            if refusal:
                answers += [None] * (len(jobs) - len(answers))
                raise QueueFullError(refusal_of(queue, refusal), answers)
        # What is refused is told as None, and nothing was.
        return cast("list[Offered]", answers)

    def _offer(self, keys: QueueKeys, jobs: Sequence[NewJob], revive: Collection[JobState]) -> list[Any]:
        arguments: list[Argument] = [",".join(revive), self._limits[self._memory.is_short()], *_arguments(jobs)]
        if not self._replica_acks:
            answer: list[Any] = self._scripts.run("enqueue", keys, *arguments)
            return answer
        answer, confirmed = self._scripts.run_confirmed(
            "enqueue", keys, arguments, self._replica_acks, self._replica_ack_wait // _MILLISECOND
        )
        if confirmed < self._replica_acks:
            raise UnavailableError(
                Code.QUEUE_NOT_CONFIRMED,
                f"{confirmed} of {self._replica_acks} replicas confirmed {len(jobs)} job(s) in time",
            )
        return answer


def _arguments(jobs: Sequence[NewJob]) -> list[Any]:
    """Jobs as the step takes them: in runs, of which it is told once what their jobs have in common."""
    arguments: list[Any] = []
    common, counted = None, 0
    for job in jobs:
        of_job = _COMMON(job)
        if of_job != common:
            common = of_job
            arguments += _run(*of_job)
            counted = len(arguments) - 1
        arguments += (job.id_text or str(job.job_id), job.digest, job.message)
        arguments[counted] += 1
    return arguments


def _run(
    kind: str, tenant: str, keep: timedelta, due: datetime | timedelta | None, urgent: bool, revives: datetime | None
) -> tuple[Argument, ...]:
    """What jobs have in common, and how many they are: none yet."""
    revived = "" if revives is None else (revives - _EPOCH) // _MILLISECOND
    return kind, tenant, keep // _MILLISECOND, _due(due), "1" if urgent else "", revived, 0


def _told(jobs: Sequence[NewJob], unusual: Sequence[Any]) -> list[Offered | None]:
    """What became of each job, of those of which the step tells nothing as well; None for those that were refused."""
    told: list[Offered | None] = [Offered(job.job_id, _ACCEPTED, _READY) for job in jobs]
    for at in range(0, len(unusual), 3):
        place, offer, state = unusual[at : at + 3]
        told[place] = None if offer == _FULL else Offered(jobs[place].job_id, _OFFERS[offer], _STATES[state])
    return told


def _parts(jobs: Sequence[NewJob]) -> list[list[NewJob]]:
    parts: list[list[NewJob]] = []
    size = 0
    for job in jobs:
        if not parts or size + len(job.message) > BATCH_BYTES or len(parts[-1]) >= BATCH_JOBS:
            parts.append([])
            size = 0
        parts[-1].append(job)
        size += len(job.message)
    return parts


def _due(due: datetime | timedelta | None) -> str:
    if due is None:
        return ""
    if isinstance(due, timedelta):
        return f"in:{-(-due // _MILLISECOND)}"
    return f"at:{-((_EPOCH - due) // _MILLISECOND)}"
