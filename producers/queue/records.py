"""The job record: what Redis knows of a job besides its place in a queue."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import redis

from penstock.producers.queue.connection import redis_errors

#: A record outlives the last change of its job by this.
RECORD_WINDOW = timedelta(days=7)


class JobState(StrEnum):
    """Where a job stands."""

    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
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


class JobRecords:
    """Reads and writes job records, one hash per job. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client = client
        self._prefix = f"{namespace}:job:"

    def write(self, record: JobRecord) -> None:
        """Put the record as it is now.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        key = self._prefix + str(record.job_id)
        fields = {
            "state": record.state,
            "kind": record.kind,
            "tenant": record.tenant,
            "queue": record.queue,
            "changed_at": record.changed_at.astimezone(UTC).isoformat(),
            "code": record.code or "",
            "message": record.message or "",
        }
        with redis_errors("noting a job's state"), self._client.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, items=[part for field in fields.items() for part in field])
            pipeline.pexpire(key, RECORD_WINDOW)
            pipeline.execute()

    def read(self, job_ids: list[UUID]) -> dict[UUID, JobRecord]:
        """The records of these jobs, in one round trip; a job without a record is left out.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("reading jobs' states"), self._client.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(self._prefix + str(job_id))
            answers = pipeline.execute()
        return {
            job_id: _parse(job_id, {name.decode(): value.decode() for name, value in fields.items()})
            for job_id, fields in zip(job_ids, answers, strict=True)
            if fields
        }


def _parse(job_id: UUID, fields: dict[str, str]) -> JobRecord:
    return JobRecord(
        job_id=job_id,
        state=JobState(fields["state"]),
        kind=fields["kind"],
        tenant=fields["tenant"],
        queue=fields["queue"],
        changed_at=datetime.fromisoformat(fields["changed_at"]),
        code=fields["code"] or None,
        message=fields["message"] or None,
    )
