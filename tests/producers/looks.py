"""Batches, and looks at what a producer has put into Redis."""

import json
import uuid
from typing import Any

from penstock.producers import Submission, WriteSubmissionBatch
from penstock.producers.queue.layout import QueueKeys

KIND = "submission_batch.write"


def batch(batch_id: str, text: str = "hello") -> WriteSubmissionBatch:
    return WriteSubmissionBatch(form_id="f", batch_id=batch_id, submissions=(Submission(answers={"q": text}),))


def waiting(client: Any, prefix: str, tenant: str = "acme") -> list[str]:
    """The ids of the ready jobs of a tenant, in the order in which they are leased."""
    ids = client.lrange(QueueKeys(prefix, "submissions").key(f"ready:{tenant}"), 0, -1)
    return [identity.decode() for identity in ids]


def envelope(client: Any, prefix: str, identity: uuid.UUID) -> tuple[dict[str, Any], Any]:
    """Header and payload of a job's message."""
    header, _, payload = client.hget(QueueKeys(prefix, "submissions").job(identity), "message").partition(b"\n")
    return json.loads(header), json.loads(payload)
