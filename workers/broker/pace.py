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
#: Single jobs so quick that even more than these deliveries take no longer than this may be that many.
_WAITING_SINGLY = timedelta(milliseconds=6)
#: Jobs share a delivery, and so a commit, if it takes no longer than this;
_TOGETHER = timedelta(milliseconds=30)
#: but two always may: a lease for two gives one place to another tenant that waits, so its turn comes no later.
_PAIR = 2
#: Less than this is not parted among the threads: each part would have a transaction of its own.
_WORTH_A_COMMIT = timedelta(milliseconds=5)
#: Jobs of one lease while it is not known how long they take.
_UNKNOWN = 8
#: Where jobs may share deliveries, and these take less than sharing may, two leases are at least so far apart.
_GATHERING = timedelta(milliseconds=5)
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
        self._took_all = False
        self._lock = threading.Lock()
        #: Of each kind: seconds and bytes of what ran, the more recent the heavier.
        self._ran: dict[str, tuple[float, float]] = {}
        #: Seconds of a delivery, the more recent the heavier; None before the first.
        self._usual: float | None = None

    def ran(self, jobs: Sequence[OpenedJob], seconds: float) -> None:
        """Learn from a delivery how long its kind takes."""
        kind, size = jobs[0].leased.kind, sum(len(job.leased.message) for job in jobs)
        with self._lock:
            before = self._ran.get(kind, (0.0, 0.0))
            self._ran[kind] = (before[0] * _MEMORY + seconds, before[1] * _MEMORY + size)
            usual = seconds if self._usual is None else self._usual
            self._usual = usual * _MEMORY + seconds * (1 - _MEMORY)

    def leased(self, jobs: Sequence[LeasedJob], group_limit: int, *, took_all: bool = False) -> None:
        """Learn from a lease what the next one will bring, and how many of these may share a delivery.

        `took_all` says that nothing was left behind.
        """
        self._took_all = took_all
        self._last_bytes, self._last_jobs, self._group_limit = {}, len(jobs), group_limit
        for job in jobs:
            self._last_bytes[job.kind] = self._last_bytes.get(job.kind, 0) + len(job.message)

    def deliveries(self) -> int:
        """How many may be under way at once: one a thread, and those that may wait for one."""
        seconds = self._job_seconds()
        if seconds is None:
            return self._prefetch
        waiting = int(_WAITING.total_seconds() * self._threads / (seconds * self._together(seconds)))
        usual = min(self._prefetch, self._threads + waiting)
        if self._group_limit > 1:
            return usual
        return max(usual, self._threads + int(_WAITING_SINGLY.total_seconds() * self._threads / seconds))

    def enough(self) -> int:
        """With how many under way no lease is made yet: where several may wait for a thread, half of them do.

        A lease for each delivery that ends would cost as much as a quick job does.
        """
        most = self.deliveries()
        return most - max(0, most - self._threads) // 2

    def gathering_seconds(self) -> float:
        """How long after the last lease that brought jobs the next one should come.

        Jobs of a stream, each there just after the one before was leased, would have a transaction each, and that costs
        several times as much as they do. The first one after a pause is leased at once all the same. Where more waits
        already, or jobs don't share deliveries, there is nothing to wait for.
        """
        brisk = self._usual is not None and self._usual <= _TOGETHER.total_seconds()
        return _GATHERING.total_seconds() if brisk and self._took_all and self._group_limit > 1 else 0.0

    def jobs(self, deliveries: int) -> int:
        """How many jobs to lease for so many deliveries."""
        seconds = self._job_seconds()
        if seconds is None:
            return min(deliveries * self._group_limit, _UNKNOWN)
        return deliveries * self._together(seconds)

    def share(self, jobs: Sequence[OpenedJob], room: int) -> int:
        """How many of these jobs of one kind are to share a delivery, where there is room for so many deliveries.

        All threads get some, unless these are so quick that a transaction of their own would cost more than they do.
        """
        each = -(-len(jobs) // room)
        size = sum(len(job.leased.message) for job in jobs)
        seconds = self._seconds(jobs[0].leased.kind, size)
        if not seconds:
            return each
        return max(each, int(_WORTH_A_COMMIT.total_seconds() * len(jobs) / seconds))

    def cut(self, jobs: Sequence[OpenedJob], limit: int) -> Iterator[list[OpenedJob]]:
        """Part jobs of one kind into deliveries of at most `limit` jobs, and no longer than jobs may share one."""
        together: list[OpenedJob] = []
        total = 0.0
        seconds_a_byte = self._seconds_a_byte(jobs)
        for job in jobs:
            seconds = seconds_a_byte[job.leased.kind] * len(job.leased.message)
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
            seconds_a_byte = self._seconds_a_byte(jobs)
            left -= sum(seconds_a_byte[job.leased.kind] * len(job.leased.message) for job in jobs)
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

    def _seconds_a_byte(self, jobs: Sequence[OpenedJob]) -> dict[str, float]:
        """By kind; 0 for a kind that never ran."""
        return {kind: self._seconds(kind, 1) or 0.0 for kind in {job.leased.kind for job in jobs}}

    def _seconds(self, kind: str, size: int) -> float | None:
        """By the size: of one kind, what is large takes long."""
        with self._lock:
            known = self._ran.get(kind)
        return None if known is None else known[0] * size / known[1]
