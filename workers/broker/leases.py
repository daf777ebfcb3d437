"""The consuming side of the queue's steps: lease, start, settle, tick. One object for each process."""

import os
import platform
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import redis

from penstock.producers.queue.connection import BLOCKING_LIMIT
from penstock.producers.queue.layout import QueueKeys
from penstock.producers.queue.scripts import Scripts
from penstock.schemas.encoding import compact_json

#: After an outage of Redis nobody is taken for dead before the fleet had this long to be heard of again: clients notice
#: a broken connection within their answer time-out of 5 s, and try again within a second.
GRACE = timedelta(seconds=10)
TICK_EVERY = timedelta(seconds=1)
#: The longest sleep of an idle worker: what it was to be woken for would be found then.
LONGEST_WAIT = BLOCKING_LIMIT

_MILLISECOND = timedelta(milliseconds=1)
_JOB_FIELDS = 7
_NO_TIME = timedelta(0)
_busy_of = attrgetter("busy")


def new_boot_id() -> str:
    """The id of one life of one process. Never used again, so a stale lease can't be taken for a new one."""
    return uuid.uuid4().hex


class LeasedJob(msgspec.Struct, frozen=True, gc=False):
    """A job that this process holds, as the queue handed it out.

    A struct, as is whatever else each job has one of: a dataclass takes five times as long to make.

    Attributes:
        job_id: as the queue has it; text, since it may be anybody's.
        kind, tenant: what its producer said.
        message: the envelope; not known to be sound.
        token: proves the lease.
        attempts: attempts that failed before this one and count.
        crashes: workers that died while they ran it.
        postpones: how often it was told "not now".
        postponed_at: when its actor first said so, in ms since 1970 by Redis's clock; None if never.
        parked_at: when it was first parked, likewise.
        ready_at: since when it was waiting to be leased, likewise.
        leased_at: when it was leased, likewise.
        suspect: it was lost with a worker, so it runs alone and is marked before it starts.
    """

    queue: str
    job_id: str
    kind: str
    tenant: str
    message: bytes
    token: str
    attempts: int
    recoveries: int
    crashes: int
    postpones: int
    postponed_at: int | None
    parked_at: int | None
    ready_at: int
    leased_at: int
    suspect: bool

    def __repr__(self) -> str:
        return f"<{self.kind} {self.job_id} by {self.token}>"

    @property
    def holder(self) -> str:
        """Names this run of the job, for gates: another lease is another run."""
        return f"{self.job_id}/{self.token}"


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """What a lease gave: jobs, and when to ask again if nothing wakes the worker before."""

    jobs: list[LeasedJob]
    paused: bool
    next_due: timedelta | None


class Verb(StrEnum):
    """What a lease ends with."""

    ACK = "ack"
    RETRY = "retry"
    POSTPONE = "postpone"
    BURY = "bury"
    RELEASE = "release"
    PARK = "park"


class Settlement(msgspec.Struct, gc=False):
    """How one lease ends.

    Attributes:
        detail: the members that settle.lua lists for the verb.
        message: what the job's message becomes; None to leave it as it is.
        busy: how long a thread was at work on it; its share of what it shared with others.
    """

    job: LeasedJob
    verb: Verb
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    message: bytes | None = None
    busy: timedelta = _NO_TIME

    def __repr__(self) -> str:
        return f"<{self.verb} of {self.job!r}: {self.detail}>"


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick found and did.

    `held` are this boot's leases that Redis knows of; `changes` counts announcements; `buried_kinds` has the kind of
    each job that was buried as poison.
    """

    held: int
    recovered: int
    buried: int
    promoted: int
    released: int
    next_due: timedelta | None
    changes: int
    offered_parks: tuple[str, ...]
    buried_kinds: tuple[str, ...] = ()


class Leases:
    """Runs the steps for one process. Safe to share between threads.

    Args:
        boot: names this life of this process.
        lease: how long its jobs stay its own after it was last heard of.
        poison_limit: crashes after which a job is a dead letter.
    """

    def __init__(self, client: redis.Redis, namespace: str, boot: str, lease: timedelta, poison_limit: int = 3) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._namespace = namespace
        self.boot = boot
        self._lease_ms = lease // _MILLISECOND
        #: How often to tick. A gap of half a lease between two ticks passes for an outage, in which nobody is taken for
        #: dead: with a short lease a second would be too long.
        self.tick_every = min(TICK_EVERY, lease / 5)
        self._poison_limit = poison_limit
        self._requests: dict[str, int] = {}
        self._numbering = threading.Lock()
        #: Parts of a millisecond that no call has told yet: many jobs take less than one.
        self._busy_left: dict[str, timedelta] = {}

    def keys(self, queue: str) -> QueueKeys:
        """The keys of a queue."""
        return QueueKeys(self._namespace, queue)

    def join(self, queue: str) -> None:
        """Tell who this worker is, for those who look at a queue. Raises redis.RedisError."""
        facts: dict[str, str | int] = {
            "host": platform.node(),
            "pid": os.getpid(),
            "release": version("penstock"),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        items: list[str | int] = [part for fact in facts.items() for part in fact]
        self._scripts.run("join", self.keys(queue), self.boot, *items)

    def next_request(self, queue: str) -> int:
        """A number for a lease request: never given before in this boot."""
        with self._numbering:
            self._requests[queue] = self._requests.get(queue, 0) + 1
            return self._requests[queue]

    def lease(self, queue: str, limit: int, request: int, least: int = 1) -> LeaseAnswer:
        """Lease up to `limit` jobs. The same `request` again gets the same jobs: use a new number only after an answer.

        No more than `least` jobs that wait are not parted among the workers.

        Raises:
            ConflictError: `QUEUE_LAYOUT_NEWER`.
            redis.RedisError: whatever Redis says; ask again with the same number.
        """
        answer = self._scripts.run("lease", self.keys(queue), self.boot, request, limit, self._lease_ms, least)
        token = f"{self.boot}/{request}"
        # Most jobs of a lease share these words, which are read once for all.
        words: dict[bytes, str] = {}
        jobs = [
            _leased_job(queue, token, answer[2], answer[start : start + _JOB_FIELDS], words)
            for start in range(3, len(answer), _JOB_FIELDS)
        ]
        return LeaseAnswer(jobs, answer[0] == 1, _from_ms(answer[1]))

    def start(self, job: LeasedJob) -> bool:
        """Mark a suspect as started; False where its lease is lost and it must not run. Raises redis.RedisError."""
        return bool(self._scripts.run("start", self.keys(job.queue), job.job_id, job.token))

    def settle(self, queue: str, settlements: Sequence[Settlement]) -> list[bool]:
        """End leases, any number in one round trip; False for each that was lost before.

        Raises:
            redis.RedisError: whatever Redis says; settle the same again.
        """
        busy = self._busy_left.get(queue, _NO_TIME)
        # Those of a delivery have their share of its time in common.
        for alike, shares in groupby(settlements, key=_busy_of):
            busy += alike * sum(1 for _ in shares)
        arguments: list[Any] = [self.boot, busy // _MILLISECOND]
        run: tuple[str, Verb] | None = None
        counted = 0
        for settlement in settlements:
            job, verb = settlement.job, settlement.verb
            if run != (job.token, verb):
                run = (job.token, verb)
                arguments += (*run, 0)
                counted = len(arguments) - 1
            arguments[counted] += 1
            arguments.append(job.job_id)
            if verb is not Verb.ACK:
                arguments.append(_detail(settlement))
        lost = set(self._scripts.run("settle", self.keys(queue), *arguments))
        self._busy_left[queue] = busy % _MILLISECOND
        return [place not in lost for place in range(len(settlements))]

    def tick(self, queue: str, *, stopping: bool = False, member: bool = True, held_up_by: str = "") -> Tick:
        """Do what has to happen every second; a `member` is heard of by it, others (a scheduler) only see to the rest.

        `held_up_by` names what keeps this process from taking jobs, for those who look at one.

        Raises:
            redis.RedisError: whatever Redis says.
        """
        answer = self._scripts.run(
            "tick",
            self.keys(queue),
            self.boot if member else "",
            self._lease_ms,
            int(stopping),
            self._poison_limit,
            GRACE // _MILLISECOND,
            held_up_by,
        )
        held, recovered, buried, promoted, released, due, changes, kinds, *parks = answer
        offered = tuple(park.decode() for park in parks)
        poison = tuple(kind.decode(errors="replace") for kind in kinds)
        return Tick(held, recovered, buried, promoted, released, _from_ms(due), changes, offered, poison)

    def held(self, queue: str) -> dict[str, str]:
        """The jobs that Redis thinks this boot holds, in the order in which they were leased: id -> token.

        Raises redis.RedisError.
        """
        found: Any = self._client.zrange(self.keys(queue).key(f"leased:{self.boot}"), 0, -1, withscores=True)
        # The whole part of the score is the number of the request.
        return {job_id.decode(errors="replace"): f"{self.boot}/{int(score)}" for job_id, score in found}

    def release(self, queue: str, park: str, at_once: int, rate: float | None = None) -> tuple[int, int]:
        """Let jobs parked under a key go, in order: `at_once` now, and with a `rate` so many a second from now on.

        Returns how many went, and how many are still parked. Raises redis.RedisError.
        """
        answer = self._scripts.run("release", self.keys(queue), park, at_once, "" if rate is None else rate)
        return answer[0], answer[1]

    def leave(self, queue: str) -> int:
        """Say that this boot will not be heard of again; returns how many jobs it held. Raises redis.RedisError."""
        return int(self._scripts.run("leave", self.keys(queue), self.boot))


def _detail(settlement: Settlement) -> bytes:
    """What the step is told of the end of a lease, besides its verb."""
    detail = compact_json(settlement.detail)
    return detail if settlement.message is None else detail + b"\n" + settlement.message


#: Of a job that was never leased before.
_NO_PAST = (b"",) * 6


def _leased_job(queue: str, token: str, now: int, fields: Sequence[Any], words: dict[bytes, str]) -> LeasedJob:
    """A job as the step tells of it; `words` are the texts that were read before."""
    job_id, kind, tenant, message, ready, alone, past = fields
    attempts, recoveries, crashes, postpones, postponed, parked = past or _NO_PAST
    if kind not in words:
        words[kind] = kind.decode(errors="replace")
    if tenant not in words:
        words[tenant] = tenant.decode(errors="replace")
    # By position: with names it takes twice as long, and each job is made here.
    return LeasedJob(
        queue,
        job_id.decode(errors="replace"),
        words[kind],
        words[tenant],
        message,
        token,
        int(attempts) if attempts else 0,
        int(recoveries) if recoveries else 0,
        int(crashes) if crashes else 0,
        int(postpones) if postpones else 0,
        int(postponed) if postponed else None,
        int(parked) if parked else None,
        int(ready) if ready else now,
        now,
        alone == 1,
    )


def _from_ms(milliseconds: int) -> timedelta | None:
    return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)
