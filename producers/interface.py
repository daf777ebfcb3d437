"""What every producer of submissions can do, whether it talks to Redis, to the gateway or to a test."""

import uuid
from collections.abc import Callable, Iterable
from typing import Protocol

from penstock.producers import batches
from penstock.producers.queue.records import JobRecord


class WorkProducer(Protocol):
    """The calls that `Producer`, `HttpProducer` and `RecordingProducer` share; write against it to change the door."""

    def submit(
        self,
        form_id: str,
        rows: Iterable[batches.Row],
        *,
        batch_id: str,
        options: batches.SubmitOptions | None = None,
        on_progress: Callable[[batches.Progress], None] | None = None,
    ) -> batches.Submitted:
        """Hand over rows of any number; the same rows with the same `batch_id` are the same work."""

    def job(self, job_id: uuid.UUID) -> JobRecord | None:
        """Where a job stands; None where no job of that id is known (any more)."""

    def jobs(self, job_ids: list[uuid.UUID]) -> dict[uuid.UUID, JobRecord]:
        """Where several jobs stand; unknown ones are left out."""

    def ping(self) -> None:
        """See that work can be handed over."""

    def close(self) -> None:
        """Close the connections."""
