"""Stops a worker within its grace: nothing new is leased, what runs may finish, the rest goes back at once."""

import logging
import queue
import time
from datetime import timedelta

import dramatiq
from dramatiq.worker import ConsumerThread, WorkerThread

from penstock.workers.broker.broker import PenstockBroker
from penstock.workers.broker.consumer import QueueConsumer
from penstock.workers.broker.leases import Settlement, Verb
from penstock.workers.broker.time_limits import ShutdownError, TimeLimits

_log = logging.getLogger(__name__)

#: Of the grace, kept for interrupting what overruns and for giving it back.
_RESERVE = timedelta(seconds=2)
#: How long an interrupted delivery may take to notice, within the reserve.
_NOTICE = timedelta(seconds=1)
_LOOK_EVERY = timedelta(milliseconds=100)


def stop_worker(worker: dramatiq.Worker, broker: PenstockBroker, limits: TimeLimits, grace: timedelta) -> int:
    """Stop a worker; returns how many jobs it leaves that it had started, or could not give back.

    Their attempts stay untouched, and that they were interrupted is no crash of theirs.
    """
    ends_at = time.monotonic() + grace.total_seconds()
    broker.emit_before("worker_shutdown", worker)
    broker.pulse.stopping.set()
    _stop_leasing(broker)
    _wait_for_consumers(worker)
    threads: list[WorkerThread | ConsumerThread] = [*worker.workers, *worker.consumers.values()]
    for thread in threads:
        thread.stop()
    finished = _finish(worker, broker, ends_at - _reserve_of(grace))
    left = 0 if finished else _interrupt(broker, limits, min(_NOTICE.total_seconds(), _reserve_of(grace) / 2))
    if not broker.leave(max(ends_at, time.monotonic() + 0.2)):
        _log.error("Redis did not take back all jobs in time; they are recovered when their leases run out")
        left = max(left, len(broker.tools.held.all_jobs()))
    broker.emit_after("worker_shutdown", worker)
    return left


def _reserve_of(grace: timedelta) -> float:
    return min(_RESERVE, grace / 4).total_seconds()


def _stop_leasing(broker: PenstockBroker) -> None:
    tools = broker.tools
    tools.stopping.set()
    # Whoever leases at this moment still gets its answer, and sees the stop before it asks again.
    if tools.leasing.acquire(timeout=_NOTICE.total_seconds()):
        tools.leasing.release()


def _wait_for_consumers(worker: dramatiq.Worker) -> None:
    """Wait until what the consumers have handed over lies where it is given back from, all of it, and in order."""
    for thread in worker.consumers.values():
        if isinstance(thread.consumer, QueueConsumer):
            thread.consumer.at_rest.wait(_NOTICE.total_seconds())


def _finish(worker: dramatiq.Worker, broker: PenstockBroker, deadline: float) -> bool:
    """Give back what is not started, and wait for what is; False where some of it is still running at the deadline."""
    while True:
        # More than once: a consumer that did not come to rest in time may still hand over its last delivery.
        _give_back_unstarted(worker)
        look_again = time.monotonic() + _LOOK_EVERY.total_seconds()
        if broker.tools.held.wait_until_empty(min(deadline, look_again)):
            return True
        if time.monotonic() >= deadline:
            return False


def _give_back_unstarted(worker: dramatiq.Worker) -> None:
    """What waits for a worker thread goes back to the head of its queue, in order."""
    waiting: list[dramatiq.MessageProxy] = []
    while True:
        try:
            waiting.append(worker.work_queue.get_nowait().message)
        except queue.Empty:
            break
    for name, thread in worker.consumers.items():
        if isinstance(thread.consumer, QueueConsumer):
            mine = [message for message in waiting if message.queue_name == name]
            # Together: what is given back later goes to the head, before what was given back first.
            unstarted = [*mine, *thread.consumer.take_back()]
            thread.consumer.requeue(unstarted)
            if unstarted:
                _log.info("gave back %d deliveries of %s that were not started", len(unstarted), name)


def _interrupt(broker: PenstockBroker, limits: TimeLimits, notice: float) -> int:
    held = broker.tools.held
    started = len(held.all_jobs())
    limits.interrupt_all(ShutdownError)
    if not held.wait_until_empty(time.monotonic() + notice):
        # In C code, where no interrupt lands. The process ends now, and with it whatever they were at.
        broker.tools.settler.settle([Settlement(job, Verb.RELEASE) for job in held.all_jobs()])
    _log.warning("gave back %d job(s) that did not finish within the grace", started)
    return started
