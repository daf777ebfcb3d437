"""How long a queue's jobs take in this process, and how many it may therefore lease before a thread is free for them.

What is leased takes no part in the turns of tenants any more. So there is one rule: beside the job that each thread
runs, a process holds no more than a moment's work, by the measured time of the jobs before.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

from penstock.workers.broker.delivery import OpenedJob
from penstock.workers.broker.leases import LeasedJob

#: Deliveries for each thread at the most: the one that it runs and the next, so that no thread waits for the network.
PREFETCH_PER_THREAD = 2
#: Deliveries may wait for a thread if all threads together work them off in this time.
_WAITING = timedelta(milliseconds=10)
#: Jobs share a delivery, and so a commit, if it takes no longer than this;
_TOGETHER = timedelta(milliseconds=30)
#: but two always may: a lease for two gives one place to another tenant that waits, so its turn comes no later.
_PAIR = 2
#: Jobs of one lease while it is not known how long they take.
_UNKNOWN = 8
#: What a delivery leaves of what was known before it.
_MEMORY = 0.8


class Pace:
    """What jobs cost, by kind and size. What ran is told by any thread, the rest belongs to the consumer's.

    Args:
        prefetch: deliveries that may be under way at once, however quick they are.
        group_limit: the largest of the kinds' own, for the first lease.
    """

    def __init__(self, prefetch: int, group_limit: int) -> None:
        self._prefetch = prefetch
        self._threads = max(1, prefetch // PREFETCH_PER_THREAD)
        self._group_limit = group_limit
        #: Of the last lease: bytes by kind, and jobs. The next one is taken to bring the like.
        self._last_bytes: dict[str, int] = {}
        self._last_jobs = 0
        self._lock = threading.Lock()
        #: Of each kind: seconds and bytes of what ran, the more recent the heavier.
        self._ran: dict[str, tuple[float, float]] = {}

    def ran(self, jobs: Sequence[OpenedJob], seconds: float) -> None:
        """Learn from a delivery how long its kind takes."""
        kind, size = jobs[0].leased.kind, sum(len(job.leased.message) for job in jobs)
        with self._lock:
            before = self._ran.get(kind, (0.0, 0.0))
            self._ran[kind] = (before[0] * _MEMORY + seconds, before[1] * _MEMORY + size)

    def leased(self, jobs: Sequence[LeasedJob], group_limit: int) -> None:
        """Learn from a lease what the next one will bring, and how many of these may share a delivery."""
        self._last_bytes, self._last_jobs, self._group_limit = {}, len(jobs), group_limit
        for job in jobs:
            self._last_bytes[job.kind] = self._last_bytes.get(job.kind, 0) + len(job.message)

    def deliveries(self) -> int:
        """How many may be under way at once: one a thread, and those that may wait for one."""
        seconds = self._job_seconds()
        if seconds is None:
            return self._prefetch
        waiting = int(_WAITING.total_seconds() * self._threads / (seconds * self._together(seconds)))
        return min(self._prefetch, self._threads + waiting)

    def jobs(self, deliveries: int) -> int:
        """How many jobs to lease for so many deliveries."""
        seconds = self._job_seconds()
        if seconds is None:
            return min(deliveries * self._group_limit, _UNKNOWN)
        return deliveries * self._together(seconds)

    def cut(self, jobs: Sequence[OpenedJob], limit: int) -> Iterator[list[OpenedJob]]:
        """Part jobs of one kind into deliveries of at most `limit` jobs, and no longer than jobs may share one."""
        together: list[OpenedJob] = []
        total = 0.0
        for job in jobs:
            seconds = self._seconds(job.leased.kind, len(job.leased.message)) or 0.0
            too_long = len(together) >= _PAIR and total + seconds > _TOGETHER.total_seconds()
            if together and (len(together) >= limit or too_long):
                yield together
                together, total = [], 0.0
            together.append(job)
            total += seconds
        yield together

    def surplus(self, waiting: Sequence[Sequence[OpenedJob]], before: int) -> int:
        """How many of the last deliveries are too much, where `before` deliveries are under way already.

        More than a shared delivery's time for each thread: whoever gave back less would only lease it again.
        """
        left = _TOGETHER.total_seconds() * self._threads
        free = max(0, self._threads - before)
        for place, jobs in enumerate(waiting[free:], free):
            left -= sum(self._seconds(job.leased.kind, len(job.leased.message)) or 0.0 for job in jobs)
            if left < 0:
                return len(waiting) - place
        return 0

    def _together(self, seconds: float) -> int:
        return min(self._group_limit, max(_PAIR, int(_TOGETHER.total_seconds() / seconds)))

    def _job_seconds(self) -> float | None:
        """What one job like those of the last lease takes; None where a kind of them never ran."""
        total = 0.0
        for kind, size in self._last_bytes.items():
            seconds = self._seconds(kind, size)
            if seconds is None:
                return None
            total += seconds
        return max(total / self._last_jobs, 1e-6) if self._last_jobs else None

    def _seconds(self, kind: str, size: int) -> float | None:
        """By the size: of one kind, what is large takes long."""
        with self._lock:
            known = self._ran.get(kind)
        return None if known is None else known[0] * size / known[1]
