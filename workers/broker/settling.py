"""Ends leases: one thread takes what the worker threads hand over, and ends many leases in one round trip."""

import logging
import queue
import threading
import time
from collections.abc import Sequence

import redis

from penstock.schemas.envelope import decode_envelope
from penstock.schemas.errors import InvalidInputError, PenstockError
from penstock.workers.broker.held import Held
from penstock.workers.broker.leases import Leases, Settlement, Verb
from penstock.workers.broker.outage import Outage
from penstock.workers.telemetry.metrics import LEASES_LOST
from penstock.workers.telemetry.sentry import Death, is_telling, tell_death

_log = logging.getLogger(__name__)

#: Leases that one round trip ends.
_MOST = 500


class Settler(threading.Thread):
    """Ends leases in the order in which they are handed over, however long Redis is away.

    A job whose lease can't be ended stays with this process, which goes on being heard of; when the process ends, the
    job is recovered like that of a killed one, and the ledger knows what it has done.
    """

    def __init__(self, leases: Leases, held: Held) -> None:
        super().__init__(name="penstock-settler", daemon=True)
        self._leases = leases
        self._held = held
        # SimpleQueue is safe against an exception that is thrown into a worker thread while it puts.
        self._waiting: queue.SimpleQueue[Sequence[Settlement] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Have leases ended; returns at once."""
        if settlements:
            self._waiting.put(settlements)

    def stop(self, deadline: float) -> bool:
        """End what was handed over, until `time.monotonic()` is `deadline`; False where something is left."""
        self._waiting.put(None)
        self.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        return not self.is_alive()

    def run(self) -> None:
        """Until stopped."""
        while True:
            batch, ends = self._take()
            for name in {settlement.job.queue for settlement in batch}:
                self._end(name, [settlement for settlement in batch if settlement.job.queue == name])
            if ends:
                return

    def _take(self) -> tuple[list[Settlement], bool]:
        """What waits, once something does; and whether the end was among it."""
        batch: list[Settlement] = []
        item = self._waiting.get()
        while item is not None:
            batch += item
            if len(batch) >= _MOST:
                return batch, False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _end(self, name: str, settlements: list[Settlement]) -> None:
        outage = Outage(_log, "ending leases")
        while not self._stopping.is_set():
            try:
                answers = self._leases.settle(name, settlements)
            except (redis.RedisError, OSError, PenstockError) as error:
                if isinstance(error, redis.ResponseError) and len(settlements) > 1:
                    # One of them may be what Redis refuses; it must not hold up the others.
                    for settlement in settlements:
                        self._end(name, [settlement])
                    return
                outage.wait(error, self._stopping)
            else:
                outage.over()
                self._tell_lost(settlements, answers)
                self._tell_deaths(settlements, answers)
                self._held.drop(settlement.job for settlement in settlements)
                return

    def _tell_lost(self, settlements: list[Settlement], answers: list[bool]) -> None:
        for settlement, kept in zip(settlements, answers, strict=True):
            if not kept:
                LEASES_LOST.labels(settlement.job.queue).inc()
                job = settlement.job
                context = {"job_id": job.job_id, "queue": job.queue, "kind": job.kind, "verb": str(settlement.verb)}
                _log.warning("a job's lease was lost before it ended; whoever has it now decides", extra=context)

    def _tell_deaths(self, settlements: list[Settlement], answers: list[bool]) -> None:
        """Tell Sentry of the jobs that are dead letters now; of a lost lease whoever has it now tells."""
        if not is_telling():
            return
        for settlement, kept in zip(settlements, answers, strict=True):
            if kept and settlement.verb is Verb.BURY:
                tell_death(_death_of(settlement))


def _death_of(settlement: Settlement) -> Death:
    job, detail = settlement.job, settlement.detail
    try:
        trace = decode_envelope(job.message)[0].trace
    except InvalidInputError:
        trace = None
    return Death(
        job_id=job.job_id,
        kind=job.kind,
        queue=job.queue,
        tenant=job.tenant,
        attempts=job.attempts + (1 if detail.get("attempted") else 0),
        code=str(detail["code"]),
        told=str(detail["told"]),
        entry=str(detail["entry"]),
        trace=trace,
    )
