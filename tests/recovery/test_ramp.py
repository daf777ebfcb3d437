"""Jobs parked in numbers, released by a ramp: in order, none lost, and never more than the ramp allows."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate, combinations, pairwise
from uuid import UUID

import pytest
import redis

from penstock.producers.queue.connection import connect
from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.workers.broker.leases import LeasedJob, Leases, Settlement, Verb, new_boot_id
from tests.recovery.servers import Seeded, full
from tests.system import wait_for

QUEUE = "publishing"
JOBS = 100_000 if full() else 5_000
KEYS = ("account:red", "account:green", "account:blue")
#: Jobs a second, of each key.
RATE = 2_000 if full() else 500
LEASE = timedelta(seconds=30)
AT_ONCE = 1_000
#: Seconds; a ramp releases some of a key's jobs so often, whoever ticks.
RELEASED_EVERY = 0.05


@dataclass(frozen=True)
class Release:
    """Jobs that were released in one step, which happened between two moments of the monotonic clock."""

    after: float
    before: float
    count: int


@dataclass
class Yard:
    """A queue full of parked jobs, and what is seen of it."""

    client: "redis.Redis"
    namespace: str
    leases: Leases
    ended: threading.Event = field(default_factory=threading.Event)
    releases: "list[Release]" = field(default_factory=list)
    #: The numbers of the jobs of each key, in the order in which they were leased after their release.
    seen: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    request: int = 0

    def lease(self) -> list[LeasedJob]:
        self.request += 1
        return self.leases.lease(QUEUE, AT_ONCE, self.request).jobs

    def note(self, step: Callable[[], int]) -> None:
        after = time.monotonic()
        count = step()
        self.releases.append(Release(after, time.monotonic(), count))

    def tick_until_ended(self) -> None:
        while not self.ended.wait(0.02):
            self.note(lambda: self.leases.tick(QUEUE).released)

    def take_all(self) -> None:
        """Lease and acknowledge all that comes."""
        jobs = self.lease()
        for job in jobs:
            self.seen[key_of(job.job_id)].append(UUID(job.job_id).int)
        if jobs:
            self.leases.settle(QUEUE, [Settlement(job, Verb.ACK) for job in jobs])

    def parked(self) -> int:
        keys = self.leases.keys(QUEUE)
        return sum(int(self.client.zcard(keys.key(f"parked:{key}"))) for key in KEYS)

    @property
    def count(self) -> int:
        return sum(map(len, self.seen.values()))


def key_of(job_id: str) -> str:
    return KEYS[UUID(job_id).int % len(KEYS)]


@pytest.fixture
def yard(redis_url: str, namespace: str, seeded: Seeded) -> Iterator[Yard]:
    """All jobs parked: under the key of each, in another order than that of their enqueueing."""
    own = f"{namespace}-{seeded.randrange(10**6)}"
    with connect(redis_url) as client:
        yard = Yard(client, own, Leases(client, own, new_boot_id(), LEASE))
        jobs = [
            NewJob(UUID(int=number), "post.publish", "acme", b"{}\n{}", str(number), timedelta(0))
            for number in range(JOBS)
        ]
        Enqueuer(client, own).enqueue(QUEUE, jobs)
        leased: list[LeasedJob] = []
        while found := yard.lease():
            leased += found
        assert len(leased) == JOBS
        seeded.shuffle(leased)
        for start in range(0, JOBS, AT_ONCE):
            yard.leases.settle(QUEUE, [park(job) for job in leased[start : start + AT_ONCE]])
        assert yard.parked() == JOBS
        yield yard


def park(job: LeasedJob) -> Settlement:
    return Settlement(job, Verb.PARK, {"key": key_of(job.job_id), "blocked_by": "a limit"})


def run(yard: Yard, start: Callable[[str], None]) -> None:
    """Start the release of every key, and take what comes until nothing is left."""
    for key in KEYS:
        start(key)
    ticking = threading.Thread(target=yard.tick_until_ended)
    ticking.start()
    try:

        def is_over() -> bool:
            yard.take_all()
            return yard.count >= JOBS

        wait_for(is_over, "all jobs to be released and taken", seconds=120)
    finally:
        yard.ended.set()
        ticking.join()


def is_within_the_ramp(steps: list[Release]) -> bool:
    """Whether no stretch of the run released more than its time allows.

    A key that rests between two steps catches up at the next, so the time since the step before counts too. The moments
    are those that leave the most time, so a slow machine is no burst; and each key may round up by one job.
    """
    rate = RATE * len(KEYS)
    rest = RELEASED_EVERY + max(step.before - last.after for last, step in pairwise(steps))
    total = [0, *accumulate(step.count for step in steps)]
    return all(
        total[end + 1] - total[start + 1] <= rate * (steps[end].before - steps[start].after + rest) + len(KEYS)
        for start, end in combinations(range(len(steps)), 2)
    )


def test_a_ramp_releases_in_order_without_a_burst_and_loses_none(yard: Yard) -> None:
    def start(key: str) -> None:
        yard.note(lambda: yard.leases.release(QUEUE, key, 0, RATE)[0])

    started = time.monotonic()
    run(yard, start)
    took = time.monotonic() - started
    print(f"{JOBS:,} jobs in {took:.1f} s, at {RATE * len(KEYS):,} a second allowed")
    for key in KEYS:
        assert yard.seen[key] == sorted(yard.seen[key]), f"a job of {key} was overtaken"
    numbers = [number for key in KEYS for number in yard.seen[key]]
    assert (len(numbers), len(set(numbers))) == (JOBS, JOBS)
    assert is_within_the_ramp(yard.releases)
    # All in all, too: not faster than the ramp from the first to the last.
    assert took > JOBS / (RATE * len(KEYS)) * 0.9
    assert yard.parked() == 0
    assert yard.client.exists(*(yard.leases.keys(QUEUE).key(name) for name in ("parks", "releases"))) == 0


def test_without_the_ramp_the_same_measurement_sees_a_burst(yard: Yard) -> None:
    def start(key: str) -> None:
        def release() -> int:
            return yard.leases.release(QUEUE, key, AT_ONCE)[0]

        for _ in range(0, JOBS, AT_ONCE):
            yard.note(release)

    run(yard, start)
    assert yard.count == JOBS
    assert not is_within_the_ramp(yard.releases)
