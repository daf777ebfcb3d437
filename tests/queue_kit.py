"""Jobs in a real queue without a worker process: enqueue, lease and settle by hand."""

import itertools
import secrets
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import redis

from penstock.producers.queue.enqueueing import Enqueuer, NewJob
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.schemas.names import Queue
from penstock.workers.broker.leases import LeasedJob, Leases, Settlement, Verb, new_boot_id

KIND = "test.kind"


def new_job(tenant: str = "acme", *, due: timedelta | None = None, kind: str = KIND, keep_hours: int = 1) -> NewJob:
    identity = uuid.uuid4()
    return NewJob(identity, kind, tenant, b"{}\n{}", identity.hex, timedelta(hours=keep_hours), due)


class QueueKit:
    """The queue `posts` of a namespace of its own, and one worker's leases on it."""

    queue = Queue.POSTS

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.keys = QueueKeys(namespace, self.queue)
        self.enqueuer = Enqueuer(client, namespace)
        self.inspector = QueueInspector(client, namespace)
        self.leases = Leases(client, namespace, new_boot_id(), timedelta(seconds=30))
        self._requests = itertools.count(1)

    def put(self, count: int = 1, tenant: str = "acme", **facts: Any) -> list[uuid.UUID]:
        jobs = [new_job(tenant, **facts) for _ in range(count)]
        self.enqueuer.enqueue(self.queue, jobs)
        return [job.job_id for job in jobs]

    def lease(self, limit: int = 1) -> list[LeasedJob]:
        return self.leases.lease(self.queue, limit, next(self._requests)).jobs

    def settle(self, jobs: list[LeasedJob], verb: Verb, **detail: Any) -> None:
        assert all(self.leases.settle(self.queue, [Settlement(job, verb, detail) for job in jobs]))

    def one_of_each(self) -> dict[str, uuid.UUID]:
        """A job in each place: done, dead, parked, scheduled, leased, ready."""
        made = {}
        for place in ("done", "dead", "parked"):
            (made[place],) = self.put()
            leased = self.lease()
            if place == "done":
                self.settle(leased, Verb.ACK)
            elif place == "dead":
                self.settle(leased, Verb.BURY, code="JOB_PAYLOAD_INVALID", told="it does not fit")
            else:
                self.settle(leased, Verb.PARK, key="kind:x", blocked_by="kind:x", offer=60_000, limit=600_000)
        (made["leased"],) = self.put()
        assert [job.job_id for job in self.lease()] == [str(made["leased"])]
        (made["scheduled"],) = self.put(due=timedelta(hours=1))
        (made["ready"],) = self.put()
        return made


def open_kit(redis_url: str) -> Iterator[QueueKit]:
    """A kit in a namespace that is removed at the end; yields once."""
    prefix = f"test-{secrets.token_hex(6)}"
    with redis.Redis.from_url(redis_url) as client:
        yield QueueKit(client, prefix)
        for key in client.scan_iter(match=f"{prefix}*", count=10_000):
            client.delete(key)
