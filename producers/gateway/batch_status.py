"""What is known of a batch or a whole: committed parts from PostgreSQL, the rest from the queue."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any
from uuid import UUID

from penstock.producers.gateway.keyed import Whole
from penstock.producers.gateway.services import Services
from penstock.producers.queue.records import JobRecord, JobState
from penstock.producers.storage.base_batches import BaseSummary, committed_parts, summarise_base
from penstock.producers.storage.batches import StoredBatch, count_faults, find_batches
from penstock.producers.storage.database import Connection
from penstock.schemas.errors import Code, NotFoundError, PenstockError
from penstock.schemas.identity import job_id
from penstock.schemas.submission_batch import WriteSubmissionBatch, part_id

#: Parts whose jobs one look asks for, from the first that is not committed.
PARTS_LOOKED_AT = 300
_UNDECIDED = ("running", "ready", "scheduled", "parked")


def state_name(state: str) -> str:
    """A job's state as it is told: `ready`, `scheduled`, `parked`, `running`, `done` or `dead`."""
    return "running" if state == JobState.LEASED else str(state)


@dataclass(frozen=True, slots=True)
class _Committed:
    """What PostgreSQL has: the batch of that id, or else what has it for its base."""

    batch: StoredBatch | None
    faults: dict[str, int]
    whole: BaseSummary | None = None
    parts: Collection[str] = ()


async def batch_status(services: Services, tenant: str, batch_id: str) -> dict[str, Any]:
    """A batch, or the whole that its id names.

    Raises:
        NotFoundError: `BATCH_NOT_FOUND`.
        PenstockError: of the `STORAGE_` or `QUEUE_` family.
    """
    identity = _job_of(tenant, batch_id)
    try:
        found = await services.database.run(lambda connection: _read(connection, tenant, batch_id))
    except PenstockError:
        # A batch that is not committed is known to the queue, whatever PostgreSQL does.
        records = await services.threads.run(services.producer.jobs, [identity])
        if identity not in records:
            raise
        return _of_record(batch_id, records[identity])
    if found.batch is not None:
        return found.batch.as_dict() | {"faults": found.faults, "job_id": str(identity)}
    records = await services.threads.run(services.producer.jobs, [identity])
    if identity in records and records[identity].tenant == tenant:
        return _of_record(batch_id, records[identity])
    return await _whole(services, tenant, batch_id, found)


def _read(connection: Connection, tenant: str, batch_id: str) -> _Committed:
    stored = find_batches(connection, tenant, [batch_id]).get(batch_id)
    if stored is not None:
        return _Committed(stored, count_faults(connection, tenant, [batch_id]))
    parts = committed_parts(connection, tenant, batch_id)
    return _Committed(
        None, count_faults(connection, tenant, parts), summarise_base(connection, tenant, batch_id), frozenset(parts)
    )


async def _whole(services: Services, tenant: str, base: str, found: _Committed) -> dict[str, Any]:
    whole = await services.threads.run(services.keyed.whole, tenant, base)
    names = list(islice(_open_parts(base, found.parts, whole), PARTS_LOOKED_AT))
    records = await services.threads.run(services.producer.jobs, [_job_of(tenant, name) for name in names])
    states = Counter(state_name(record.state) for record in records.values())
    summary = found.whole
    if summary is None or not (whole or summary.batches or states):
        raise NotFoundError(Code.BATCH_NOT_FOUND, f"the tenant {tenant!r} has no batch {base!r}")
    states["done"] += summary.batches
    dead = [record for record in records.values() if record.state is JobState.DEAD]
    return {
        "batch_id": base,
        "tenant": tenant,
        "state": _state_of(states),
        "batches": whole.batches if whole is not None else None,
        "batches_by_state": dict(sorted(states.items())),
        "rows_accepted": whole.rows if whole is not None else None,
        **summary.as_dict(),
        "faults": found.faults,
        "dead": [{"job_id": str(record.job_id), "code": record.code, "message": record.message} for record in dead],
    }


def _open_parts(base: str, committed: Collection[str], whole: Whole | None) -> Iterator[str]:
    """The parts that are not committed, in order; where nobody knows how many there are, without end."""
    numbers = count(1) if whole is None else range(1, whole.batches + 1)
    return (name for name in (part_id(base, number) for number in numbers) if name not in committed)


def _state_of(states: Counter[str]) -> str:
    """The state of a whole: what still moves, or else that some of it is dead, or that all is done."""
    return next((state for state in (*_UNDECIDED, "dead") if states[state]), "done")


def _of_record(batch_id: str, record: JobRecord) -> dict[str, Any]:
    told: dict[str, Any] = {
        "batch_id": batch_id,
        "tenant": record.tenant,
        "state": state_name(record.state),
        "job_id": str(record.job_id),
        "changed_at": record.changed_at.isoformat(),
    }
    return told | ({"code": record.code, "message": record.message} if record.code else {})


def _job_of(tenant: str, batch_id: str) -> UUID:
    return job_id(tenant, WriteSubmissionBatch.kind, batch_id)
