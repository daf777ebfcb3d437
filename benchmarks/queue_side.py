"""One side of `benchmarks.queue_limits`: does what it is told with the release that its PYTHONPATH names.

`python queue_side.py URL LIMITS`, with the limits `usual` (whatever the release has), `all` or `none`. It reads
`prepare WAY JOBS` and `run` from standard input, and answers each with a line: the seconds that it took, and
those of its own processor time. It keeps to what earlier releases have, too.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis

from penstock import producers
from penstock.producers import Producer, Submission, WriteSubmissionBatch
from penstock.schemas.job import EncodedPayload
from penstock.schemas.limits import Limits
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import Leases, Settlement, Verb

NAMESPACE = "bench"
#: Far above what is enqueued, so that each limit is looked at and none is reached.
LIMITS = {"all": (10**9, 10**15, 10**9, 10**15, 1.0), "none": (0, 0, 0, 0, 0)}
ROW = Submission(answers={f"question_{number}": f"an answer of some length {number}" for number in range(20)})
Work = Callable[[], object]


class Side:
    """Prepares work and does it."""

    def __init__(self, url: str, limits: str) -> None:
        options: dict[str, Any] = {} if limits == "usual" else {"bounds": producers.Bounds(*LIMITS[limits])}
        self.producer = Producer(url, namespace=NAMESPACE, **options)
        self.client = redis.Redis.from_url(url)

    def bulk(self, jobs: int) -> Work:
        """All jobs in one call."""
        made = [tiny(number) for number in range(jobs)]
        return lambda: self.producer.enqueue_many(made)

    def singly(self, jobs: int) -> Work:
        """A tenth as many, each in a call of its own."""
        made = [tiny(number) for number in range(jobs // 10)]
        return lambda: [self.producer.enqueue(one) for one in made]

    def batches(self, jobs: int) -> Work:
        """A hundredth as many batches of 100 rows, as a submit sends them."""
        made = [WriteSubmissionBatch(form_id="f", batch_id=f"b-{number}", submissions=(ROW,) * 100)
                for number in range(jobs // 100)]  # fmt: skip
        return lambda: [self.producer.enqueue(one.encode(Limits())) for one in made]

    def acks(self, jobs: int) -> Work:
        """The ends of a tenth as many leases, each told in a call of its own."""
        self.producer.enqueue_many([tiny(number) for number in range(jobs // 10)])
        leases = Leases(self.client, NAMESPACE, "boot", timedelta(minutes=5))
        held = [one for request in range(1, jobs // 10 + 1) for one in leases.lease(Queue.POSTS, 1, request).jobs]
        return lambda: [leases.settle(Queue.POSTS, [Settlement(one, Verb.ACK)]) for one in held]


def tiny(number: int) -> EncodedPayload:
    """A job of some bytes, without a key."""
    return EncodedPayload("bench.tiny", Queue.POSTS, 1, b"%d" % number, None)


def main() -> None:
    """Do what standard input says."""
    side = Side(*sys.argv[1:3])
    work: Work | None = None
    for line in sys.stdin:
        command, *told = line.split()
        began, used = time.perf_counter(), time.process_time()
        if command == "prepare":
            work = getattr(side, told[0])(int(told[1]))
        elif work is not None:
            work()
        sys.stdout.write(f"{time.perf_counter() - began} {time.process_time() - used}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
