"""Jobs of the kind `test.paced`, and how a worker comes to know it."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope
from penstock.workers.sidecar.presence import Presence

QUEUE, KIND = "posts", "test.paced"
KINDS = Path(__file__).parent / "kinds"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def paced_environment(starts: Path) -> dict[str, str]:
    """What a worker needs besides to run such jobs."""
    return {"PYTHONPATH": str(KINDS), "PENSTOCK_ACTORS": "paced_actors", "PENSTOCK_TEST_STARTS": str(starts)}


def enqueue_paced(
    client: "redis.Redis",
    namespace: str,
    count: int = 1,
    *,
    tenant: str = "acme",
    due: timedelta | None = None,
    trace: str | None = None,
    **payload: Any,
) -> list[uuid.UUID]:
    """Enqueue so many jobs with this payload."""
    jobs = []
    for _ in range(count):
        facts = {"trace": trace} if trace else {}
        header = EnvelopeHeader(
            id=uuid.uuid4(), kind=KIND, queue=QUEUE, tenant=tenant, enqueued_at=datetime.now(UTC), **facts
        )
        message = encode_envelope(header, json.dumps(payload).encode())
        jobs.append(NewJob(header.id, KIND, tenant, message, header.id.hex, timedelta(hours=1), due))
    Enqueuer(client, namespace).enqueue(QUEUE, jobs)
    return [job.job_id for job in jobs]


def take_for_away(presence: Presence) -> None:
    """Have a server be away for good: no probe finds it again."""
    presence.stop()
    presence._thread.join(5)
    presence.failed()
