"""Rows of the outbox as jobs, offered to their queues."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from penstock.producers.queue.enqueueing import Enqueuer, NewJob, Offered
from penstock.producers.queue.message import encode_job
from penstock.producers.queue.records import JobState
from penstock.producers.storage.outbox import OutboxRow
from penstock.schemas.errors import Code, ConflictError
from penstock.schemas.job import EncodedPayload
from penstock.schemas.names import Queue
from penstock.workers.scheduler.kinds import KindFacts

#: The digest of messages of plain dramatiq actors, as the broker enqueues them.
PLAIN_MESSAGE = "message"
_KIND = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


@dataclass(slots=True)
class Answers:
    """What became of rows: the queue's answer to some, and why others could not be offered."""

    offered: list[tuple[OutboxRow, Offered]] = field(default_factory=list)
    held: dict[Code, list[OutboxRow]] = field(default_factory=dict)

    def hold(self, code: Code, rows: Sequence[OutboxRow]) -> None:
        """Note that these rows could not be offered."""
        if rows:
            self.held.setdefault(code, []).extend(rows)


@dataclass(frozen=True, slots=True)
class Keep:
    """How long a job is known after it is done: with an idempotency key, and without one."""

    keyed: timedelta
    unkeyed: timedelta


class Offering:
    """Offers rows to the queues that they name, or that their kinds name."""

    def __init__(self, enqueuer: Enqueuer, kinds: Mapping[str, KindFacts], keep: Keep) -> None:
        self._enqueuer = enqueuer
        self.kinds = kinds
        self._keep = keep

    def offer(self, rows: Sequence[OutboxRow], *, revive: Collection[JobState] = ()) -> Answers:
        """Offer rows, in order, in one round trip for each queue. What can't be offered is in nobody's way.

        Raises:
            UnavailableError: `QUEUE_UNAVAILABLE` or `QUEUE_NOT_CONFIRMED`: offer all again.
            PenstockError: `QUEUE_OUT_OF_MEMORY` or `QUEUE_REFUSED`: offer all again later.
        """
        answers = Answers()
        by_queue: dict[Queue, list[OutboxRow]] = {}
        for row in rows:
            queue = self.queue_of(row.kind, row.queue)
            if isinstance(queue, Queue):
                by_queue.setdefault(queue, []).append(row)
            else:
                answers.hold(queue, [row])
        for queue, of_queue in by_queue.items():
            jobs = [self._job(row, queue) for row in of_queue]
            try:
                told = self._enqueuer.enqueue(queue, jobs, revive=revive)
            except ConflictError as error:
                # The queue has the layout of a later release, whose scheduler will do it.
                answers.hold(error.code, of_queue)
            else:
                answers.offered += zip(of_queue, told, strict=True)
        return answers

    def queue_of(self, kind: str, named: str | None) -> Queue | Code:
        """The queue that a row names or its kind does, or why there is none."""
        if named is not None:
            return Queue(named) if named in set(Queue) else Code.QUEUE_NOT_FOUND
        facts = self.kinds.get(kind)
        return Code.JOB_UNKNOWN_KIND if facts is None else facts.queue

    def _job(self, row: OutboxRow, queue: Queue) -> NewJob:
        facts = self.kinds.get(row.kind)
        payload = EncodedPayload(
            row.kind,
            queue,
            row.payload_version,
            row.payload,
            row.idempotency_key,
            urgent=facts is not None and facts.urgent,
        )
        keep = self._keep.unkeyed if row.idempotency_key is None else self._keep.keyed
        job = encode_job(payload, row.job_id, row.tenant, row.created_at, keep=keep, due=row.run_at, cause=row.cause)
        if row.revives is None:
            return job
        # What can be no kind of ours is a message of a plain actor: those are never in conflict.
        digest = job.digest if is_kind(row.kind) else PLAIN_MESSAGE
        return replace(job, revives=row.revives, digest=digest)


def is_kind(name: str) -> bool:
    """Whether a name is one that a job kind can have."""
    return _KIND.fullmatch(name) is not None
