"""Wakes jobs that a gate told a later instant, once an operator has changed that gate."""

import time
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from itertools import chain, islice
from typing import Any

import redis

from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.names import Queue

#: From one woken job to the next: they ask their gates again, and all at once would ask mostly in vain.
SPREAD = timedelta(milliseconds=1)
#: A worker that asked just before the change has ended its lease by then.
_UNDER_WAY = timedelta(milliseconds=300)
#: Jobs of one step, and of one look.
_STEP, _LOOK = 500, 1_000

_MILLISECOND = timedelta(milliseconds=1)
#: Job id, and what it is blocked by, by due time.
_Waiting = tuple[float, bytes, bytes]


def wake_held(client: redis.Redis, namespace: str, holds: Callable[[str], bool]) -> int:
    """Have jobs ask their gates again that wait for one of them, in the order of their turns, 1,000 a second.

    Nothing is kept for this while jobs come and go: it looks through what is scheduled, and changes only what it
    wakes. Nobody is made later than it was told, and a job that changes meanwhile is left alone.

    Args:
        client: of the queues' Redis.
        namespace: prefix of the keys.
        holds: whether that is the gate, of what `blocked_by` says.

    Returns:
        How many jobs were woken in all queues.

    Raises:
        ConflictError: `QUEUE_LAYOUT_NEWER`.
        redis.RedisError: whatever Redis says; it can be done again.
    """
    waker = _Waker(client, holds)
    found = sum(waker.wake(QueueKeys(namespace, queue)) for queue in Queue)
    if not found:
        return 0
    # Where a gate holds many, some were asked just before it changed, and are settled only now.
    time.sleep(_UNDER_WAY.total_seconds())
    return found + sum(waker.wake(QueueKeys(namespace, queue)) for queue in Queue)


class _Waker:
    """Wakes each job once, so that those which were asked again meanwhile keep their new turns."""

    def __init__(self, client: redis.Redis, holds: Callable[[str], bool]) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._holds = holds
        self._woken: set[bytes] = set()

    def wake(self, keys: QueueKeys) -> int:
        waiting = sorted(one for one in self._look(keys) if one[1] not in self._woken)
        self._woken.update(job_id for _, job_id, _ in waiting)
        return sum(
            self._scripts.run("hasten", keys, start * SPREAD // _MILLISECOND, SPREAD // _MILLISECOND, *_told(some))
            for start, some in _parts(waiting)
        )

    def _look(self, keys: QueueKeys) -> Iterator[_Waiting]:
        # Whatever is scheduled from the first to the last call is told; by ranks some would slip past.
        scheduled: Iterator[tuple[bytes, float]] = self._client.zscan_iter(keys.key("scheduled"), count=_LOOK)
        while some := list(islice(scheduled, _LOOK)):
            with self._client.pipeline(transaction=False) as pipeline:
                for job_id, _ in some:
                    pipeline.hget(keys.job(job_id.decode()), "blocked_by")
                answers: list[Any] = pipeline.execute()
            for (job_id, due), blocked_by in zip(some, answers, strict=True):
                if blocked_by and self._holds(blocked_by.decode()):
                    yield due, job_id, blocked_by


def _parts(waiting: list[_Waiting]) -> Iterator[tuple[int, Collection[_Waiting]]]:
    for start in range(0, len(waiting), _STEP):
        yield start, waiting[start : start + _STEP]


def _told(waiting: Collection[_Waiting]) -> Iterator[bytes]:
    return chain.from_iterable((job_id, blocked_by) for _, job_id, blocked_by in waiting)
