"""What this process holds: jobs whose leases have not ended yet."""

import threading
import time
from collections.abc import Callable, Iterable

from penstock.workers.broker.leases import LeasedJob


class Held:
    """The jobs of this process, by queue, and how many deliveries they make. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, dict[str, LeasedJob]] = {}
        self._deliveries: dict[str, int] = {}

    def add(self, queue: str, jobs: Iterable[LeasedJob], deliveries: int) -> None:
        """Take jobs in, as so many deliveries."""
        with self._changed:
            self._jobs.setdefault(queue, {}).update({job.job_id: job for job in jobs})
            self._deliveries[queue] = self._deliveries.get(queue, 0) + deliveries

    def drop(self, jobs: Iterable[LeasedJob]) -> None:
        """Forget jobs whose leases have ended."""
        with self._changed:
            for job in jobs:
                kept = self._jobs.get(job.queue)
                found = kept.get(job.job_id) if kept else None
                # A job may have come back to this process under another lease in the meantime.
                if found is job or (found is not None and found.token == job.token):
                    del self._jobs[job.queue][job.job_id]
            self._changed.notify_all()

    def delivery_ended(self, queue: str) -> None:
        """Make room for another delivery."""
        with self._changed:
            self._deliveries[queue] -= 1
            self._changed.notify_all()

    def wait_for_room(
        self, queue: str, limit: Callable[[], int], enough: Callable[[], int], timeout_seconds: float
    ) -> int:
        """Wait until fewer deliveries than `enough()` are open.

        Returns how many more fit below `limit()`, 0 where none did in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._deliveries.get(queue, 0) < enough(), timeout_seconds)
            return max(0, limit() - self._deliveries.get(queue, 0))

    def deliveries(self, queue: str) -> int:
        """How many deliveries of a queue are open."""
        with self._changed:
            return self._deliveries.get(queue, 0)

    def jobs(self, queue: str) -> dict[str, LeasedJob]:
        """The jobs held of a queue, by id."""
        with self._changed:
            return dict(self._jobs.get(queue, {}))

    def all_jobs(self) -> list[LeasedJob]:
        """The jobs held of all queues."""
        with self._changed:
            return [job for jobs in self._jobs.values() for job in jobs.values()]

    def wait_until_empty(self, deadline: float) -> bool:
        """Wait until nothing is held, until `time.monotonic()` is `deadline`; False where something still is."""
        with self._changed:
            return self._changed.wait_for(lambda: not any(self._jobs.values()), max(0.0, deadline - time.monotonic()))
