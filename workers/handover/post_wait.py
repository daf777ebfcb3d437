"""Waits until posts are stored or their jobs are dead."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from penstock.producers import Producer
from penstock.producers.queue.records import JobRecord, JobState
from penstock.producers.storage.posts import find_digests
from penstock.schemas.errors import Code, PenstockError, UnavailableError

#: Time between two looks: short at first, then gentle.
_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(milliseconds=500)
#: Posts that one look asks for.
_PAGE = 500


@dataclass(slots=True)
class StoredPosts:
    """What became of posts so far."""

    stored: set[UUID] = field(default_factory=set)
    dead: dict[UUID, JobRecord] = field(default_factory=dict)


def wait_until_stored(
    connection: "psycopg.Connection[Any]",
    producer: Producer,
    post_ids: Sequence[UUID],
    limit: timedelta | None,
    on_progress: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> StoredPosts:
    """Wait for the jobs that store these posts.

    Raises:
        UnavailableError: `REQUEST_TIMEOUT` where `limit` passes first; the work goes on.
        PenstockError: of the `STORAGE_` or `QUEUE_` family.
    """
    found = StoredPosts()
    waiting = dict.fromkeys(post_ids)
    ends_at = None if limit is None else time.monotonic() + limit.total_seconds()
    pause = _FIRST_PAUSE
    while True:
        before = len(waiting)
        _look(connection, producer, waiting, found)
        on_progress(len(found.stored) + len(found.dead))
        if not waiting:
            return found
        if ends_at is not None and time.monotonic() >= ends_at:
            raise UnavailableError(Code.REQUEST_TIMEOUT, f"{len(waiting)} posts are not stored yet")
        pause = _FIRST_PAUSE if len(waiting) < before else min(pause * 1.5, _LONGEST_PAUSE)
        sleep(pause.total_seconds())


def _look(
    connection: "psycopg.Connection[Any]", producer: Producer, waiting: dict[UUID, None], found: StoredPosts
) -> None:
    page = list(waiting)[:_PAGE]
    stored = find_digests(connection, producer.tenant, page)
    found.stored.update(stored)
    records = producer.jobs([one for one in page if one not in stored])
    dead = {one: record for one, record in records.items() if record.state is JobState.DEAD}
    found.dead.update(dead)
    for one in (*stored, *dead):
        del waiting[one]


def require_none_dead(found: StoredPosts) -> None:
    """Raise for the first post whose job is dead, telling how many there are.

    Raises:
        PenstockError: with the code that the job died of.
    """
    if not found.dead:
        return
    first = next(iter(found.dead.values()))
    code = Code(first.code) if first.code in set(Code) else Code.INTERNAL_ERROR
    others = f" ({len(found.dead)} posts were refused)" if len(found.dead) > 1 else ""
    raise PenstockError(code, f"{first.message}{others}", details={"dead": [str(one) for one in found.dead]})
