"""How long a queue's jobs take in this process, and how many it may therefore lease before a thread is free for them.

What is leased takes no part in the turns of tenants any more. So there is one rule: beside the job that each thread
runs, a process holds no more than a moment's work, by the measured time of the jobs before.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

from penstock.workers.broker.costs import MEMORY, UNKNOWN_RATE, Cost, Ran, Rate
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
#: and at least so many times as far as a delivery takes for itself, which on a busy machine may be as long.
_BY_FIXED = 2
#: All workers together, that is. One that finds only jobs that are younger leases less often, so many times less at the
#: most, and never less often than this,
_SELDOM = 4
_GATHERING_MOST = timedelta(milliseconds=20)
#: in such steps; and one that finds older ones leases more often.
_LESS_OFTEN, _MORE_OFTEN = 1.25, 0.5
_YOUNG, _OLD = 0.8, 1.2
#: That no older one was there says something only where so many were.
_TELLING = 4


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
        #: Of the last lease: jobs and bytes by kind. The next one is taken to bring the like.
        self._last: dict[str, tuple[int, int]] = {}
        self._took_all = False
        #: How many times as seldom as one alone this one leases from a stream.
        self._seldom = 1.0
        self._lock = threading.Lock()
        self._ran: dict[str, Ran] = {}
        #: What `_cost` found, until something ran or was leased.
        self._known: Cost | None = None
        #: Seconds of a delivery, the more recent the heavier; None before the first.
        self._usual: float | None = None

    def ran(self, jobs: Sequence[OpenedJob], seconds: float) -> None:
        """Learn from a delivery how long its kind takes."""
        kind, size = jobs[0].leased.kind, sum(len(job.leased.message) for job in jobs)
        with self._lock:
            self._ran.setdefault(kind, Ran()).add(len(jobs), seconds, size)
            self._known = None
            usual = seconds if self._usual is None else self._usual
            self._usual = usual * MEMORY + seconds * (1 - MEMORY)

    def leased(self, jobs: Sequence[LeasedJob], group_limit: int, *, took_all: bool = False) -> None:
        """Learn from a lease what the next one will bring, and how many of these may share a delivery.

        `took_all` says that nothing was left behind.
        """
        if self._took_all:
            self._see_to_gathering(jobs)
        self._took_all = took_all
        self._group_limit = group_limit
        by_kind: dict[str, list[int]] = {}
        for job in jobs:
            by_kind.setdefault(job.kind, []).append(len(job.message))
        with self._lock:
            self._last = {kind: (len(sizes), sum(sizes)) for kind, sizes in by_kind.items()}
            self._known = None

    @property
    def last_bytes(self) -> int:
        """Of the last lease."""
        return sum(size for _, size in self._last.values())

    def deliveries(self) -> int:
        """How many may be under way at once: one a thread, and those that may wait for one."""
        cost = self._cost()
        if cost is None:
            return self._prefetch
        waiting = int(_WAITING.total_seconds() * self._threads / cost.of(self._together(cost)))
        usual = min(self._prefetch, self._threads + waiting)
        if self._group_limit > 1:
            return usual
        return max(usual, self._threads + int(_WAITING_SINGLY.total_seconds() * self._threads / cost.of(1)))

    def enough(self) -> int:
        """With how many under way no lease is made yet: where several may wait for a thread, half of them do.

        A lease for each delivery that ends would cost as much as a quick job does.
        """
        most = self.deliveries()
        return most - max(0, most - self._threads) // 2

    def found_nothing(self) -> None:
        """Learn from a lease that brought nothing: what comes next should not wait for others."""
        self._seldom = 1.0

    def _see_to_gathering(self, jobs: Sequence[LeasedJob]) -> None:
        """Learn from a lease before which jobs were gathered whether others lease as well: then its oldest is young."""
        oldest_ms = max(job.leased_at - job.ready_at for job in jobs)
        alone_ms = self._alone_seconds() * 1000
        if oldest_ms <= _YOUNG * alone_ms and len(jobs) >= _TELLING:
            self._seldom = min(self._seldom * _LESS_OFTEN, _SELDOM)
        elif oldest_ms >= _OLD * alone_ms:
            self._seldom = max(self._seldom * _MORE_OFTEN, 1.0)

    def _alone_seconds(self) -> float:
        """What should be between two leases from a stream, whoever makes them."""
        cost = self._cost()
        return max(_GATHERING.total_seconds(), _BY_FIXED * cost.fixed if cost is not None else 0.0)

    def least(self) -> int:
        """How many waiting jobs are too few to be parted among workers: each part would have its own transaction."""
        cost = self._cost()
        return 1 if cost is None else max(1, min(self._group_limit, int(_WORTH_A_COMMIT.total_seconds() / cost.each)))

    def gathering_seconds(self) -> float:
        """How long after the last lease that brought jobs the next one should come.

        Jobs of a stream, each there just after the one before was leased, would have a transaction each, and that costs
        several times as much as they do. The first one after a pause is leased at once all the same. Where more waits
        already, or jobs don't share deliveries, there is nothing to wait for.
        """
        brisk = self._usual is not None and self._usual <= _TOGETHER.total_seconds()
        if not brisk or not self._took_all or self._group_limit <= 1:
            return 0.0
        return min(self._seldom * self._alone_seconds(), _GATHERING_MOST.total_seconds())

    def jobs(self, deliveries: int) -> int:
        """How many jobs to lease for so many deliveries."""
        cost = self._cost()
        if cost is None:
            return min(deliveries * self._group_limit, _UNKNOWN)
        return deliveries * self._together(cost)

    def share(self, jobs: Sequence[OpenedJob], room: int) -> int:
        """How many of these jobs of one kind are to share a delivery, where there is room for so many deliveries.

        All threads get some, unless these are so quick that a transaction of their own would cost more than they do.
        """
        each = -(-len(jobs) // room)
        size = sum(len(job.leased.message) for job in jobs)
        seconds = self._rates(jobs)[jobs[0].leased.kind].of(size / len(jobs)) * len(jobs)
        if not seconds:
            return each
        return max(each, int(_WORTH_A_COMMIT.total_seconds() * len(jobs) / seconds))

    def cut(self, jobs: Sequence[OpenedJob], limit: int) -> Iterator[list[OpenedJob]]:
        """Part jobs of one kind into deliveries of at most `limit` jobs, and no longer than jobs may share one."""
        rates = self._rates(jobs)
        most = _TOGETHER.total_seconds() - max(rate.fixed for rate in rates.values())
        seconds = [rates[job.leased.kind].of(len(job.leased.message)) for job in jobs]
        if len(jobs) <= limit and sum(seconds) <= most:
            yield list(jobs)
            return
        together: list[OpenedJob] = []
        total = 0.0
        for job, own in zip(jobs, seconds, strict=True):
            too_long = len(together) >= _PAIR and total + own > most
            if together and (len(together) >= limit or too_long):
                yield together
                together, total = [], 0.0
            together.append(job)
            total += own
        yield together

    def surplus(self, waiting: Sequence[Sequence[OpenedJob]], before: int) -> int:
        """How many of the last deliveries are too much, where `before` deliveries are under way already.

        More than a shared delivery's time for each thread: whoever gave back less would only lease it again.
        """
        left = _TOGETHER.total_seconds() * self._threads
        free = max(0, self._threads - before)
        for place, jobs in enumerate(waiting[free:], free):
            rates = self._rates(jobs)
            left -= max(rate.fixed for rate in rates.values())
            left -= sum(rates[job.leased.kind].of(len(job.leased.message)) for job in jobs)
            if left < 0:
                return len(waiting) - place
        return 0

    def _together(self, cost: Cost) -> int:
        return min(self._group_limit, max(_PAIR, int((_TOGETHER.total_seconds() - cost.fixed) / cost.each)))

    def _cost(self) -> Cost | None:
        """What jobs like those of the last lease take; None where a kind of them never ran."""
        with self._lock:
            if self._known is not None or not self._last or any(kind not in self._ran for kind in self._last):
                return self._known
            last = [(self._ran[kind].rate(), jobs, size) for kind, (jobs, size) in self._last.items()]
            each = sum(rate.of(size / jobs) * jobs for rate, jobs, size in last) / sum(jobs for _, jobs, _ in last)
            self._known = Cost(max(rate.fixed for rate, _, _ in last), max(each, 1e-6))
            return self._known

    def _rates(self, jobs: Sequence[OpenedJob]) -> dict[str, Rate]:
        """By kind."""
        kinds = {job.leased.kind for job in jobs}
        with self._lock:
            return {kind: self._ran[kind].rate() if kind in self._ran else UNKNOWN_RATE for kind in kinds}
