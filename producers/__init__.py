"""What other services use to hand Penstock their jobs.

```python
from penstock.producers import Producer

with Producer.from_environment() as producer:
    producer.submit("strikes", rows, batch_id="strikes-2026-11")
```
"""

from penstock.producers.async_client import AsyncProducer
from penstock.producers.batches import Progress, SubmitOptions, Submitted
from penstock.producers.client import Enqueued, Producer, Replicas, Windows
from penstock.producers.queue.records import JobRecord, JobState
from penstock.producers.settings import ProducerSettings
from penstock.producers.tracing import traced
from penstock.schemas.errors import (
    Code,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PenstockError,
    UnavailableError,
)
from penstock.schemas.submission_batch import Submission, WriteSubmissionBatch

__all__ = [
    "AsyncProducer",
    "Code",
    "ConflictError",
    "Enqueued",
    "InvalidInputError",
    "JobRecord",
    "JobState",
    "NotFoundError",
    "PenstockError",
    "Producer",
    "ProducerSettings",
    "Progress",
    "Replicas",
    "Submission",
    "SubmitOptions",
    "Submitted",
    "UnavailableError",
    "Windows",
    "WriteSubmissionBatch",
    "traced",
]
