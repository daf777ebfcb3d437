"""Jobs of the kind `test.failing`, and how a worker comes to know it."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.schemas.envelope import EnvelopeHeader, encode_envelope

QUEUE, KIND = "posts", "test.failing"
WAYS = 7
#: The way that writes the secret into a log line, and ends well.
LEAKS = 100
#: Starts of a job of which each attempt fails, by the actor's policy; a way that is no passing one is tried once.
ATTEMPTS = 3
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FAILING = {"PYTHONPATH": str(Path(__file__).parent / "kinds"), "PENSTOCK_ACTORS": "failing_actors"}


def enqueue_failing(client: "redis.Redis", namespace: str, ways: list[int], **facts: Any) -> list[uuid.UUID]:
    """Enqueue a job for each way; `facts` are its secret, and members of the header."""
    secret = facts.pop("secret", "swordfish")
    jobs = []
    for way in ways:
        header = EnvelopeHeader(
            id=uuid.uuid4(), kind=KIND, queue=QUEUE, tenant="acme", enqueued_at=datetime.now(UTC), **facts
        )
        message = encode_envelope(header, json.dumps({"way": way, "secret": secret}).encode())
        jobs.append(NewJob(header.id, KIND, "acme", message, header.id.hex, timedelta(hours=1)))
    Enqueuer(client, namespace).enqueue(QUEUE, jobs)
    return [job.job_id for job in jobs]
