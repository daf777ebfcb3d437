"""A queue of a test's own on a real Valkey, and workers that are nothing but their steps."""

import itertools
import secrets
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis

from penstock.producers.queue.bounds import Bounds
from penstock.producers.queue.enqueueing import Enqueuer, NewJob, Offered
from penstock.producers.queue.inspection import QueueInspector
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts
from penstock.workers.broker.leases import LeaseAnswer, LeasedJob, Leases, Settlement, Tick, Verb
from tests.producers.queue.soundness import Held, read_places, require_sound

QUEUE = "submissions"


def job(tenant: str = "acme", text: str = "", **facts: Any) -> NewJob:
    """A job whose content is `text`; of an id of its own unless given."""
    members: dict[str, Any] = {
        "job_id": uuid.uuid4(),
        "kind": "k",
        "tenant": tenant,
        "message": f"message {text}".encode(),
        "digest": f"digest of {text}",
        "keep": timedelta(hours=1),
    }
    return NewJob(**(members | facts))


class Worker:
    """One life of one worker process."""

    def __init__(self, bench: "Bench", lease: timedelta, poison_limit: int) -> None:
        self.boot = f"{next(bench.numbers):04d}{secrets.token_hex(4)}"
        self._bench = bench
        self._leases = Leases(bench.client, bench.namespace, self.boot, lease, poison_limit)
        self.tick_every = self._leases.tick_every
        self.request = 0

    def lease(self, limit: int = 1, *, least: int = 1) -> list[LeasedJob]:
        return self.ask(limit, least=least).jobs

    def ask(self, limit: int = 1, *, again: bool = False, least: int = 1) -> LeaseAnswer:
        """Lease; `again` as one does whose answer was lost."""
        self.request += 0 if again else 1
        return self._leases.lease(QUEUE, limit, self.request, least)

    def start(self, leased: LeasedJob) -> bool:
        return self._leases.start(leased)

    def settle(self, leased: LeasedJob, verb: Verb, **detail: Any) -> bool:
        (kept,) = self.settle_many([Settlement(leased, verb, detail)])
        return kept

    def settle_many(self, settlements: list[Settlement]) -> list[bool]:
        return self._leases.settle(QUEUE, settlements)

    def tick(self, *, stopping: bool = False, member: bool = True) -> Tick:
        return self._leases.tick(QUEUE, stopping=stopping, member=member)

    def join(self) -> None:
        self._leases.join(QUEUE)

    def leave(self) -> int:
        return self._leases.leave(QUEUE)

    def release(self, park: str, at_once: int, rate: float | None = None) -> tuple[int, int]:
        return self._leases.release(QUEUE, park, at_once, rate)

    def fall_silent(self) -> None:
        """Its lease runs out now."""
        self._bench.client.zadd(self._bench.keys.key("workers"), {self.boot: 1})


class Bench:
    """A queue and whoever works at it. It counts what limits are held against from the start, unless told not to."""

    def __init__(self, client: "redis.Redis", namespace: str, *, counted: bool = True) -> None:
        self.client: Any = client
        self.namespace = namespace
        self.keys = QueueKeys(namespace, QUEUE)
        self.scripts = Scripts(client)
        self.inspector = QueueInspector(client, namespace)
        self.numbers = itertools.count(1)
        if counted:
            # As if a producer that has limits of each sort had been here: from then on all is counted.
            self.client.hset(self.keys.key("meta"), mapping={"held_generation": 0, "held_tenants": 1})
        self._enqueuer = Enqueuer(client, namespace)

    def worker(self, lease: timedelta = timedelta(seconds=30), poison_limit: int = 3) -> Worker:
        return Worker(self, lease, poison_limit)

    def within(self, **limits: Any) -> Enqueuer:
        """Offers jobs as a producer does whose queue has such limits, and no others."""
        return Enqueuer(
            self.client, self.namespace, bounds=Bounds(**({"jobs": 0, "bytes": 0, "memory_share": 0} | limits))
        )

    def offer(self, *jobs: NewJob, **options: Any) -> list[Offered]:
        return self._enqueuer.enqueue(QUEUE, jobs, **options)

    def put(
        self, count: int = 1, tenant: str = "acme", *, due: datetime | timedelta | None = None, **facts: Any
    ) -> list[str]:
        """Enqueue so many jobs; returns their ids."""
        return [str(one.job_id) for one in self.offer(*(job(tenant, due=due, **facts) for _ in range(count)))]

    def places(self) -> Held:
        return read_places(self.client, self.keys)

    def where(self, job_id: str) -> str | None:
        """The one place where a job stands; None where it is done or gone."""
        (place,) = self.places().where(job_id) or [None]
        return place

    def weigh(self, tenant: str, weight: int) -> int:
        return int(self.scripts.run("weigh", self.keys, tenant, weight, "{}"))

    def urgent(self) -> list[str]:
        return [one.decode() for one in self.client.lrange(self.keys.key("urgent"), 0, -1)]

    def ready(self, tenant: str = "acme") -> list[str]:
        return [one.decode() for one in self.client.lrange(self.keys.key(f"ready:{tenant}"), 0, -1)]

    def rotation(self) -> list[str]:
        return [one.decode() for one in self.client.lrange(self.keys.key("rotation"), 0, -1)]

    def record(self, job_id: str) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.client.hgetall(self.keys.job(job_id)).items()}

    def counts(self) -> dict[str, int]:
        """The counts that are not 0; `dead` are those that Redis has."""
        told = self.inspector.counts(QUEUE)
        names = ("accepted", "done", "purged", "archived", "ready", "scheduled", "leased", "parked")
        counted = {name: getattr(told, name) for name in names} | {"dead": told.unarchived}
        return {name: count for name, count in counted.items() if count}

    def now(self) -> int:
        """Redis's clock in ms."""
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def wake_up(self) -> bool:
        """Take the token that idle workers wait for."""
        return self.client.lpop(self.keys.key("wake")) is not None

    def make_due(self, *ids: str) -> None:
        """Let the time of scheduled jobs come, in this order."""
        now = self.now()
        for place, job_id in enumerate(ids):
            due = now - len(ids) + place
            self.client.hset(self.keys.job(job_id), "due", due)
            self.client.zadd(self.keys.key("scheduled"), {job_id: due})

    def suspects(self, count: int = 1) -> list[str]:
        """Jobs that were lost with a worker."""
        ids = self.put(count)
        lost = self.worker()
        assert [one.job_id for one in lost.lease(count)] == ids
        lost.fall_silent()
        assert self.worker().tick(member=False).recovered == count
        return ids

    def require_sound(self) -> None:
        require_sound(self.client, self.namespace, QUEUE)

    def clear(self) -> None:
        keys = list(self.client.scan_iter(f"{self.namespace}:*", count=10_000))
        if keys:
            self.client.delete(*keys)


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[Bench]:
    """A queue of the test's own; at the end of the test it must be sound."""
    with redis.Redis.from_url(redis_url) as client:
        made = Bench(client, f"{namespace}-{secrets.token_hex(4)}")
        yield made
        made.require_sound()
