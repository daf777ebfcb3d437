"""What an operator does to a queue: pause, resume, purge, weigh. A change and its audit entry are one atomic step."""

from collections.abc import Iterator
from enum import StrEnum
from typing import cast

import redis

from penstock.producers.queue.audit import audit_entry
from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.locating import PARKED, READY, SCHEDULED
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import Code, InvalidInputError

#: A tenant of this weight gets so many jobs in each of its turns; one without a weight gets one.
WEIGHT_LIMIT = 100
#: Jobs that one step of a purge looks at: each step holds up the whole of Redis.
PURGE_STEP = 1_000


class Purgeable(StrEnum):
    """What can be purged. Dead letters and leased jobs never are."""

    READY = "ready"
    SCHEDULED = "scheduled"
    PARKED = "parked"


class QueueControl:
    """Changes a queue on behalf of `actor`. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str, actor: str) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._namespace = namespace
        self._actor = actor

    def pause(self, queue: str, reason: str) -> bool:
        """Stop leases, everywhere and at once; running jobs end. False where the queue was paused already.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        entry = audit_entry(self._actor, "queue.pause", queue, reason)
        with redis_errors("pausing a queue"):
            return bool(self._scripts.run("pause", self._keys(queue), self._actor, reason, entry.encode()))

    def resume(self, queue: str, reason: str) -> bool:
        """Allow leases again. False where the queue was not paused.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        entry = audit_entry(self._actor, "queue.resume", queue, reason)
        with redis_errors("resuming a queue"):
            return bool(self._scripts.run("resume", self._keys(queue), entry.encode()))

    def purge(self, queue: str, reason: str, state: Purgeable | None = None, tenant: str | None = None) -> int:
        """Remove jobs that wait, of one state and tenant or of all; returns how many.

        The audit entry is written with the first step, so that it is there even if a later one fails.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        entry = audit_entry(self._actor, "queue.purge", queue, reason, {"state": state, "tenant": tenant}).encode()
        removed = 0
        with redis_errors("purging a queue"):
            for place in self._places(queue, state):
                removed += self._purge_place(queue, place, tenant or "", entry)
                entry = b""
        return removed

    def weigh(self, queue: str, tenant: str, weight: int, reason: str) -> int:
        """Give a tenant so many jobs in each of its turns, 1 to 100; returns how many it had before.

        Raises:
            InvalidInputError: `REQUEST_USAGE` where the weight is none.
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        if not 1 <= weight <= WEIGHT_LIMIT:
            raise InvalidInputError(Code.REQUEST_USAGE, f"a weight is 1 to {WEIGHT_LIMIT}, and not {weight}")
        entry = audit_entry(self._actor, "queue.weight", queue, reason, {"tenant": tenant, "weight": weight})
        with redis_errors("weighing a tenant"):
            return int(self._scripts.run("weigh", self._keys(queue), tenant, weight, entry.encode()))

    def weights(self, queue: str) -> dict[str, int]:
        """The tenants whose weight is not 1, and their weights.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE` or `QUEUE_REFUSED`.
        """
        with redis_errors("reading weights"):
            found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys(queue).key("weights")))
        return {tenant.decode(): int(weight) for tenant, weight in sorted(found.items())}

    def _places(self, queue: str, state: Purgeable | None) -> Iterator[str]:
        if state in {None, Purgeable.READY}:
            yield READY.removesuffix(":")
        if state in {None, Purgeable.SCHEDULED}:
            yield SCHEDULED
        if state in {None, Purgeable.PARKED}:
            for park in cast("list[bytes]", self._client.hkeys(self._keys(queue).key("parks"))):
                yield PARKED + park.decode()

    def _purge_place(self, queue: str, place: str, tenant: str, entry: bytes) -> int:
        removed = position = 0
        seen = PURGE_STEP
        while seen >= PURGE_STEP:
            answer = self._scripts.run("purge", self._keys(queue), place, tenant, PURGE_STEP, entry, position)
            now_removed, seen, position = answer
            removed += now_removed
            entry = b""
        return removed

    def _keys(self, queue: str) -> QueueKeys:
        return QueueKeys(self._namespace, queue)
