"""What other services use to hand Penstock their jobs.

```python
from penstock.producers import Producer

with Producer.from_environment() as producer:
    producer.submit("strikes", rows, batch_id="strikes-2026-11")
```
"""

from penstock.producers.async_client import AsyncProducer
from penstock.producers.batches import Progress, SubmitOptions, Submitted
from penstock.producers.client import Producer
from penstock.producers.enqueued import Enqueued, Replicas, Windows
from penstock.producers.patience import OnFull, Patience, Waiting
from penstock.producers.queue.bounds import Bounds, QueueFullError
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
    "Bounds",
    "Code",
    "ConflictError",
    "Enqueued",
    "InvalidInputError",
    "JobRecord",
    "JobState",
    "NotFoundError",
    "OnFull",
    "Patience",
    "PenstockError",
    "Producer",
    "ProducerSettings",
    "Progress",
    "QueueFullError",
    "Replicas",
    "Submission",
    "SubmitOptions",
    "Submitted",
    "UnavailableError",
    "Waiting",
    "Windows",
    "WriteSubmissionBatch",
    "traced",
]
