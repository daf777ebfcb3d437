"""Keeps this process's leases alive, and sees each second to what any worker sees to."""

import faulthandler
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

import redis

from penstock.schemas.errors import PenstockError
from penstock.workers.broker.dependencies import Dependency
from penstock.workers.broker.held import Held
from penstock.workers.broker.leases import LeasedJob, Leases, Settlement, Tick, Verb
from penstock.workers.broker.outage import Outage
from penstock.workers.telemetry.metrics import JOBS_FINISHED, JOBS_RECOVERED

_log = logging.getLogger(__name__)

#: A process whose pulse does not come to run for so long is hung (C code that holds the interpreter's lock), and ends
#: itself: its platform starts another one, and its jobs are recovered.
HUNG_AFTER = timedelta(seconds=60)
#: Parked jobs a second that are let go once a worker knows their kind.
RELEASE_RATE = 200.0


class Pulse(threading.Thread):
    """Ticks for each queue that the process consumes, whatever its consumers and worker threads are doing.

    Args:
        is_known: whether jobs parked under a key could be run here.
        watchdog: have the process end itself when it is hung.
        held_up_by: the dependency that a queue waits for.
        changed: called when changes of pauses, limits or flags were announced.
    """

    def __init__(
        self,
        leases: Leases,
        held: Held,
        is_known: Callable[[str], bool],
        *,
        watchdog: bool,
        held_up_by: Callable[[str], Dependency | None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="penstock-pulse", daemon=True)
        self._leases = leases
        self._held = held
        self._is_known = is_known
        self._watchdog = watchdog
        self._held_up_by = held_up_by
        self._changed = changed
        self._changes: dict[str, int] = {}
        self._queues: set[str] = set()
        self._strays: dict[str, dict[str, str]] = {}
        self._ended = threading.Event()
        self.stopping = threading.Event()

    def serve(self, queue: str) -> None:
        """Tick for this queue, too."""
        if queue not in self._queues:
            self._queues = {*self._queues, queue}

    @property
    def queues(self) -> Iterable[str]:
        """The queues that it ticks for."""
        return self._queues

    def stop(self) -> None:
        """End the pulse; the leases that are left run out."""
        self._ended.set()
        if self._watchdog:
            faulthandler.cancel_dump_traceback_later()

    def run(self) -> None:
        """Until stopped."""
        outages: dict[str, Outage] = {}
        while not self._ended.is_set():
            if self._watchdog:
                # It runs in a thread of its own, in C: it needs no interpreter lock.
                faulthandler.dump_traceback_later(HUNG_AFTER.total_seconds(), exit=True)
            for queue in self._queues:
                outage = outages.setdefault(queue, Outage(_log, "telling that this worker lives"))
                try:
                    self._beat(queue)
                except (redis.RedisError, OSError, PenstockError) as error:
                    outage.wait(error, self._ended)
                else:
                    outage.over()
            self._ended.wait(self._leases.tick_every.total_seconds())

    def _beat(self, queue: str) -> None:
        held_up = self._held_up_by(queue)
        tick = self._leases.tick(
            queue, stopping=self.stopping.is_set(), held_up_by="" if held_up is None else held_up.name
        )
        if tick.recovered:
            JOBS_RECOVERED.labels(queue).inc(tick.recovered)
            for kind in tick.buried_kinds:
                JOBS_FINISHED.labels(queue, kind, "dead").inc()
            _log.warning(
                "%d job(s) of %s were taken back from workers that were not heard of; %d of them are poison",
                tick.recovered,
                queue,
                tick.buried,
            )
        # The first tick, too: what was announced between the copies' first reading and it would go unheard for 30 s.
        if self._changes.get(queue) != tick.changes:
            self._changed()
        self._changes[queue] = tick.changes
        self._give_back_strays(queue, tick)
        for park in tick.offered_parks:
            if self._is_known(park):
                self._leases.release(queue, park, 0, RELEASE_RATE)

    def _give_back_strays(self, queue: str, tick: Tick) -> None:
        """Give back jobs that Redis thinks this process holds and that it does not know of.

        A lease whose answer never came leaves some. What is on its way here looks the same for a moment, so only
        those are given back that are seen twice.
        """
        if tick.held <= len(self._held.jobs(queue)):
            self._strays.pop(queue, None)
            return
        held = self._leases.held(queue)
        known = self._held.jobs(queue)
        strays = {job_id: token for job_id, token in held.items() if job_id not in known}
        seen_before = self._strays.get(queue, {})
        self._strays[queue] = strays
        gone = [(job_id, token) for job_id, token in strays.items() if seen_before.get(job_id) == token]
        if gone:
            _log.warning("giving back %d job(s) of %s that never arrived here", len(gone), queue)
            self._leases.settle(queue, [Settlement(_stray(queue, *one), Verb.RELEASE) for one in gone])


def _stray(queue: str, job_id: str, token: str) -> LeasedJob:
    return LeasedJob(queue, job_id, "", "", b"", token, 0, 0, 0, 0, None, None, 0, 0, suspect=False)
