"""The job record: where a job stands, for whoever enqueued it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.names import Queue


class JobState(StrEnum):
    """Where a job stands."""

    READY = "ready"
    SCHEDULED = "scheduled"
    #: A worker holds it: it runs, or is next to.
    LEASED = "leased"
    PARKED = "parked"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as its record tells it. `code` and `message` say why the last attempt failed."""

    job_id: UUID
    state: JobState
    kind: str
    tenant: str
    queue: str
    changed_at: datetime
    code: str | None = None
    message: str | None = None


_FIELDS = ("state", "kind", "tenant", "changed_at", "code", "told")


class JobRecords:
    """Reads job records. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._queues = [QueueKeys(namespace, queue) for queue in Queue]

    def read(self, job_ids: list[UUID]) -> dict[UUID, JobRecord]:
        """The records of these jobs, in one round trip; a job that is not known (any more) is left out.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        # An id does not tell its queue, and queues are few.
        asked = [(job_id, keys) for job_id in job_ids for keys in self._queues]
        with redis_errors("reading jobs' states"), self._client.pipeline(transaction=False) as pipeline:
            for job_id, keys in asked:
                pipeline.hmget(keys.job(job_id), _FIELDS)
            answers = pipeline.execute()
        return {
            job_id: _parse(job_id, keys.queue, fields)
            for (job_id, keys), fields in zip(asked, answers, strict=True)
            if fields[0] is not None
        }


def _parse(job_id: UUID, queue: str, fields: list[bytes | None]) -> JobRecord:
    state, kind, tenant, changed_at, code, told = (field.decode() if field else None for field in fields)
    return JobRecord(
        job_id=job_id,
        state=JobState(state or ""),
        kind=kind or "",
        tenant=tenant or "",
        queue=queue,
        changed_at=datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(changed_at or 0)),
        code=code,
        message=told,
    )
