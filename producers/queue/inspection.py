"""Looks at queues and jobs, changing nothing: counts, pages of jobs, one job. Never shows a payload."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from penstock.producers.queue.connection import redis_errors
from penstock.producers.queue.counts import QueueCounts, parse_counts
from penstock.producers.queue.instants import instant_text
from penstock.producers.queue.job_view import JobView, parse_view
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.locating import Located, parse_located
from penstock.producers.queue.records import JobState
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.errors import Code, InvalidInputError
from penstock.schemas.names import Queue

#: Tenants that counts name; the rest is in the sum.
TENANTS_NAMED = 100
PAGE_LIMIT = 1_000
#: The states whose jobs a queue can list; of a done job only the record is left.
LISTED = (JobState.READY, JobState.SCHEDULED, JobState.LEASED, JobState.PARKED, JobState.DEAD)

_PLACES, _ALL, _TWICE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class PeekedJob:
    """A job of a page. `since` is when it came where it is; None where the job's record is missing."""

    job_id: str
    state: str | None
    kind: str | None
    tenant: str | None
    since: str | None
    attempts: int
    code: str | None
    blocked_by: str | None
    due: str | None

    def as_dict(self) -> dict[str, Any]:
        """The job as commands and endpoints show it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, and where the next one begins (None: this is the last)."""

    jobs: list[PeekedJob]
    following: str | None


class QueueInspector:
    """Looks at the queues of a namespace, each look one atomic step. Safe to share between threads."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._scripts = Scripts(client)
        self._namespace = namespace

    def counts(self, queue: str) -> QueueCounts:
        """How many jobs are in each place of a queue, at one instant.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        with redis_errors("counting jobs"):
            return parse_counts(queue, self._scripts.run("counts", self._keys(queue), TENANTS_NAMED))

    def peek(self, queue: str, state: JobState, limit: int = 100, cursor: str | None = None) -> Page:
        """List jobs in one state, those that are taken next first; of the dead ones the oldest.

        Pages shift while jobs move. `cursor` is the page before's `following`; `limit` is at most 1,000.

        Raises:
            InvalidInputError: `REQUEST_USAGE`: the cursor is none of ours, or jobs in that state aren't listed.
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        if state not in LISTED:
            raise InvalidInputError(Code.REQUEST_USAGE, f"jobs that are {state} can't be listed")
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
            raise InvalidInputError(Code.REQUEST_USAGE, f"{cursor[:80]!r} is no cursor that a page has told")
        with redis_errors("listing jobs"):
            following, *rows = self._scripts.run(
                "peek", self._keys(queue), state, int(cursor or 0), max(1, min(limit, PAGE_LIMIT))
            )
        return Page([_peeked(row) for row in rows], None if following < 0 else str(following))

    def find(self, job_id: UUID) -> JobView | None:
        """A job with everything around it at one instant, in whichever queue it is; None where none knows it.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        for queue in Queue:
            with redis_errors("looking for a job"):
                answer = self._scripts.run("locate", self._keys(queue), str(job_id), _ALL)
            view = parse_view(job_id, queue, answer)
            if view is not None:
                return view
        return None

    def locate(self, queue: str, job_id: str, further: Sequence[str] = (), *, twice: bool = False) -> Located:
        """Each place of `queue` where a job stands, and what its record says, at one instant.

        Args:
            queue: the queue to look into.
            job_id: the job's id as the queue holds it; bytes that are no UTF-8 as surrogates.
            further: places to look into besides those where its record says that it is, as suffixes of keys.
            twice: look whether a list has it twice; costs a walk through the whole list.

        Raises:
            PenstockError: `QUEUE_UNAVAILABLE`, `QUEUE_REFUSED` or `QUEUE_LAYOUT_NEWER`.
        """
        with redis_errors("locating a job"):
            member = job_id.encode(errors="surrogateescape")
            answer = self._scripts.run("locate", self._keys(queue), member, _TWICE if twice else _PLACES, *further)
        return parse_located(job_id, answer)

    def _keys(self, queue: str) -> QueueKeys:
        return QueueKeys(self._namespace, queue)


def _peeked(row: list[bytes | None]) -> PeekedJob:
    job_id, state, kind, tenant, changed_at, attempts, code, blocked_by, due = (
        None if field is None else field.decode(errors="replace") for field in row
    )
    return PeekedJob(
        job_id or "",
        state,
        kind,
        tenant,
        instant_text(changed_at),
        int(attempts or 0),
        code,
        blocked_by,
        instant_text(due),
    )
