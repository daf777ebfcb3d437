"""Brings jobs from one queue to the worker threads: leases, opens, groups, and waits to be woken."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import dramatiq
import redis

from penstock.schemas.errors import Code, ConflictError, InvalidInputError
from penstock.workers.broker.delivery import Delivery, OpenedJob, deliver_message, deliver_work
from penstock.workers.broker.dependencies import Dependency
from penstock.workers.broker.held import Held
from penstock.workers.broker.leases import LONGEST_WAIT, LeaseAnswer, LeasedJob, Leases, Settlement, Verb
from penstock.workers.broker.opening import open_envelope
from penstock.workers.broker.outage import Outage
from penstock.workers.broker.pace import Pace
from penstock.workers.broker.settlements import Settlements
from penstock.workers.broker.settling import Settler
from penstock.workers.telemetry.metrics import JOBS_FINISHED

_log = logging.getLogger(__name__)

#: Messages that one lease may bring into memory, by the size of those before.
_LEASE_BYTES = 32 * 1024 * 1024
#: Jobs of a first lease, of whose sizes nothing is known.
_FIRST_LEASE = 8
_MOST = 512
#: How jobs end that ran. What was told "not now" says nothing of how long its kind takes.
_RAN = (Verb.ACK, Verb.RETRY, Verb.BURY)
#: A consumer that is held up looks this often whether the process stops.
_HELD_UP_PAUSE = timedelta(milliseconds=500)
#: dramatiq asks again at once, as long as the consumer's thread is there.
_STOPPED_PAUSE = timedelta(milliseconds=100)
#: What the end of a plain dramatiq message is called where jobs are counted.
_OUTCOMES = {Verb.ACK: "done", Verb.RETRY: "retried", Verb.BURY: "dead"}


@dataclass(frozen=True, slots=True)
class KnownKind:
    """What a consumer needs to know of a kind of ours. `group_limit` jobs go into one delivery at the most."""

    payload_version: int
    group_limit: int
    needs_storage: bool = False


@dataclass(frozen=True, slots=True)
class UnknownKinds:
    """What becomes of jobs whose kind nobody here knows: offered again so often, and given up after so long."""

    offer_every: timedelta = timedelta(seconds=30)
    limit: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the consumers of a process share.

    Attributes:
        waiting: a client of its own for the waits of idle consumers.
        stopping: set when nothing is to be leased any more.
        leasing: held by whoever leases or hands over, so that a stop can wait for the last one.
        needed_by: the dependency that a whole queue needs, if there is one: while it is away nothing is leased.
    """

    leases: Leases
    waiting: redis.Redis
    held: Held
    settler: Settler
    settlements: Settlements
    kinds: Mapping[str, KnownKind]
    is_actor: Callable[[str], bool]
    unknown_kinds: UnknownKinds
    stopping: threading.Event
    leasing: threading.Lock
    needed_by: Callable[[str], Dependency | None] = lambda _: None

    def held_up_by(self, queue: str) -> Dependency | None:
        """The dependency that a queue waits for now."""
        needed = self.needed_by(queue)
        return needed if needed is not None and needed.is_away else None


def park_of(kind: str, version: int | None = None) -> str:
    """The key under which jobs of a kind (or of a later version of its payload) wait for a worker that knows it."""
    return f"kind:{kind}" if version is None else f"kind:{kind}:v{version}"


class QueueConsumer(dramatiq.Consumer):
    """One queue's consumer, on dramatiq's interface. Belongs to one thread, but for `ack` and `nack`."""

    def __init__(self, tools: Tools, queue: str, prefetch: int, timeout: timedelta) -> None:
        self._tools = tools
        self._queue = queue
        self._timeout = timeout
        self._deliveries: deque[Delivery] = deque()
        #: Set while no delivery is on its way from here to the worker threads.
        self.at_rest = threading.Event()
        self._request = tools.leases.next_request(queue)
        self._outage = Outage(_log, "leasing jobs")
        self._typical_bytes = _LEASE_BYTES // _FIRST_LEASE
        #: When the last lease was made that brought jobs, by `time.monotonic()`.
        self._leased_at = 0.0
        self._pace = Pace(prefetch, max([1, *(kind.group_limit for kind in tools.kinds.values())]))

    def __next__(self) -> Delivery | None:
        """The next delivery; None after some time without one."""
        # Whoever comes back has put what it was given where a stop finds it.
        self.at_rest.set()
        if self._tools.stopping.is_set():
            time.sleep(_STOPPED_PAUSE.total_seconds())
            return None
        held_up_by = self._tools.held_up_by(self._queue)
        if held_up_by is not None:
            # Its jobs are ready for whoever can run them; here they would only fail.
            self.close()
            held_up_by.wait_until_back(min(self._timeout, _HELD_UP_PAUSE))
            return None
        if self._deliveries:
            return self._hand_over()
        self._gather()
        room = self._tools.held.wait_for_room(
            self._queue, self._pace.deliveries, self._pace.enough, self._timeout.total_seconds()
        )
        if not room:
            return None
        answer = self._lease(room)
        if self._deliveries:
            return self._hand_over()
        if answer is not None and not answer.jobs:
            self._wait(answer)
        return None

    def _gather(self) -> None:
        left = self._leased_at + self._pace.gathering_seconds() - time.monotonic()
        if left > 0:
            self._tools.stopping.wait(left)

    def _hand_over(self) -> Delivery | None:
        with self._tools.leasing:
            if self._tools.stopping.is_set() or not self._deliveries:
                return None
            self.at_rest.clear()
            return self._deliveries.popleft()

    def _lease(self, room: int) -> LeaseAnswer | None:
        wanted = max(1, min(self._pace.jobs(room), _MOST, _LEASE_BYTES // max(1, self._typical_bytes)))
        with self._tools.leasing:
            if self._tools.stopping.is_set():
                return None
            try:
                answer = self._tools.leases.lease(self._queue, wanted, self._request, self._pace.least())
            except ConflictError as error:
                # A later release has taken the queue over; this one must leave its jobs alone.
                _log.critical("%s", error.message, extra={"code": error.code})
                self._tools.stopping.wait(LONGEST_WAIT.total_seconds())
                return None
            except (redis.RedisError, OSError) as error:
                failed: Exception = error
            else:
                self._outage.over()
                self._request = self._tools.leases.next_request(self._queue)
                self._take_in(answer.jobs, room, took_all=len(answer.jobs) < wanted)
                return answer
        self._outage.wait(failed, self._tools.stopping)
        return None

    def _take_in(self, jobs: list[LeasedJob], room: int, *, took_all: bool) -> None:
        if not jobs:
            self._pace.found_nothing()
            return
        self._leased_at = time.monotonic()
        self._pace.leased(jobs, max(map(self._group_limit_of, {job.kind for job in jobs})), took_all=took_all)
        self._typical_bytes = max(1, self._pace.last_bytes // len(jobs))
        # Held from now on, whatever becomes of them: they must be heard of, and given back on a stop.
        self._tools.held.add(self._queue, jobs, 0)
        opened = [job for job in map(self._open, jobs) if job is not None]
        deliveries = [delivery for delivery in self._group(opened, room) if delivery is not None]
        self._tools.held.add(self._queue, (), len(deliveries))
        self._deliveries += deliveries
        self._give_back_what_takes_long()

    def _give_back_what_takes_long(self) -> None:
        """Jobs that turn out to be larger than those before may be more work than should wait here."""
        before = self._tools.held.deliveries(self._queue) - len(self._deliveries)
        surplus = self._pace.surplus([delivery.jobs for delivery in self._deliveries], before)
        if not surplus:
            return
        back: deque[Delivery] = deque()
        # A stop that could not wait for this lease may take them back at the same time.
        with suppress(IndexError):
            while len(back) < surplus:
                back.appendleft(self._deliveries.pop())
        self.requeue(back)

    def _group_limit_of(self, kind: str) -> int:
        known = self._tools.kinds.get(kind)
        return 1 if known is None else known.group_limit

    def _open(self, job: LeasedJob) -> OpenedJob | None:
        """The job with its envelope read; None where it goes elsewhere, for what is wrong with it."""
        try:
            header, payload = open_envelope(job.message)
        except InvalidInputError as error:
            self._bury(job, "", error.code, error.message)
            return None
        known = self._tools.kinds.get(header.kind)
        if known is not None and header.payload_version > known.payload_version:
            told = f"version {header.payload_version} of the payload of {header.kind!r}"
            self._give_up_or_park(job, park_of(header.kind, header.payload_version), told)
            return None
        if known is None and not self._tools.is_actor(header.kind):
            self._give_up_or_park(job, park_of(header.kind), f"the kind {header.kind!r}")
            return None
        return OpenedJob(job, header, payload)

    def _give_up_or_park(self, job: LeasedJob, park: str, what: str) -> None:
        """A later release may know it: this may be the middle of its deploy."""
        unknown = self._tools.unknown_kinds
        waited = timedelta(milliseconds=job.leased_at - (job.parked_at or job.leased_at))
        if waited >= unknown.limit:
            told = f"no worker knew {what} for {waited}"
            self._bury(job, "", Code.JOB_UNKNOWN_KIND, told)
            return
        millisecond = timedelta(milliseconds=1)
        detail = {
            "key": park,
            "blocked_by": park,
            "code": Code.JOB_UNKNOWN_KIND,
            "told": f"no worker here knows {what}",
            "offer": unknown.offer_every // millisecond,
            "limit": unknown.limit // millisecond,
        }
        self._tools.settler.settle([Settlement(job, Verb.PARK, detail)])

    def _group(self, opened: list[OpenedJob], room: int) -> Iterable[Delivery | None]:
        """Jobs that came together and may share a delivery do; nobody waits for another one to come."""
        for (kind, suspect), run in groupby(opened, key=lambda job: (job.header.kind, job.leased.suspect)):
            jobs = list(run)
            known = self._tools.kinds.get(kind)
            if known is None:
                yield from map(self._deliver_message, jobs)
                continue
            size = 1 if suspect else max(1, min(known.group_limit, self._pace.share(jobs, room)))
            yield from map(deliver_work, self._pace.cut(jobs, size))

    def _deliver_message(self, job: OpenedJob) -> Delivery | None:
        try:
            return deliver_message(job)
        except dramatiq.errors.DecodeError:
            told = "the payload is no dramatiq message"
            self._bury(job.leased, job.header.kind, Code.JOB_PAYLOAD_INVALID, told)
            return None

    def _bury(self, job: LeasedJob, kind: str, code: Code, told: str) -> None:
        """End a job that no worker thread sees. `kind` is a metric's label: one that is known here, else empty."""
        JOBS_FINISHED.labels(self._queue, kind, "dead").inc()
        self._tools.settler.settle([self._tools.settlements.unreadable(job, code, told)])

    def _wait(self, answer: LeaseAnswer) -> None:
        """Sleep until there is something to lease, by the server's word, or something is due."""
        longest = LONGEST_WAIT if answer.next_due is None else min(LONGEST_WAIT, answer.next_due)
        seconds = min(longest, self._timeout).total_seconds()
        try:
            if seconds > 0 and not self._tools.stopping.is_set():
                self._tools.waiting.blpop([self._tools.leases.keys(self._queue).key("wake")], timeout=seconds)
        except (redis.RedisError, OSError) as error:
            if not self._tools.stopping.is_set():
                self._outage.wait(error, self._tools.stopping)

    def ack(self, message: dramatiq.MessageProxy) -> None:
        """End the leases of a delivery as its actor said."""
        self._end(message)

    def nack(self, message: dramatiq.MessageProxy) -> None:
        """End the leases of a delivery that failed."""
        self._end(message)

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        """Give back deliveries that were not started."""
        deliveries = [_delivery(message) for message in messages]
        # In one step: each goes to the head, so that a second step's jobs would stand before the first one's.
        released = [Settlement(job.leased, Verb.RELEASE) for delivery in deliveries for job in delivery.jobs]
        self._tools.settler.settle(released)
        for _ in deliveries:
            self._tools.held.delivery_ended(self._queue)

    def take_back(self) -> list[Delivery]:
        """The deliveries that no worker thread was given, in order; they are the caller's now."""
        taken: list[Delivery] = []
        with suppress(IndexError):
            while True:
                taken.append(self._deliveries.popleft())
        return taken

    def close(self) -> None:
        """Give back what no worker thread was given."""
        self.requeue(self.take_back())

    def _end(self, message: dramatiq.MessageProxy) -> None:
        delivery = _delivery(message)
        settlements = self._ends(delivery)
        if delivery.began_at is not None and any(one.verb in _RAN for one in settlements):
            self._pace.ran(delivery.jobs, delivery.running_for.total_seconds())
        self._tools.settler.settle(settlements)
        self._tools.held.delivery_ended(self._queue)

    def _ends(self, delivery: Delivery) -> list[Settlement]:
        if delivery.work is None:
            settlement = self._tools.settlements.of_message(delivery.jobs[0].leased, delivery)
            JOBS_FINISHED.labels(self._queue, delivery.actor_name, _OUTCOMES[settlement.verb]).inc()
            settlement.busy = delivery.running_for
            return [settlement]
        if len(delivery.work.settlements) == len(delivery.jobs):
            return delivery.work.settlements
        told = {settlement.job.job_id for settlement in delivery.work.settlements}
        # What has no settlement was not run (its lease was lost, or a middleware was in the way): it stays a job.
        untold = [job.leased for job in delivery.jobs if job.leased.job_id not in told]
        return [*delivery.work.settlements, *map(self._tools.settlements.not_run, untold)]


def _delivery(message: dramatiq.MessageProxy) -> Delivery:
    if not isinstance(message, Delivery):
        raise TypeError(f"a {type(message).__name__} is none of this broker's deliveries")
    return message
