"""A week's schedule full of jobs hides none that is due in seconds, and takes no memory of a worker."""

import time
from collections.abc import Iterator
from datetime import timedelta

import dramatiq
import psutil
import pytest
from dramatiq.brokers.redis import RedisBroker

from penstock.producers.queue.connection import connect
from tests.recovery.servers import full, measured
from tests.recovery.trial import Trial, TrialWorker

FAR = 50_000 if full() else 5_000
NEAR = 100
DUE = timedelta(seconds=3)
LIMIT_SECONDS = 6.0 if full() else 60.0
#: A delay queue in order would hide near jobs for days; so long it is looked at.
HIDDEN_SECONDS = 3.0
MEBIBYTE = 1 << 20


def memory(worker: TrialWorker) -> int:
    return int(psutil.Process(worker.pid).memory_info().rss)


def test_near_jobs_run_on_time_and_the_worker_does_not_grow(trial: Trial) -> None:
    worker = trial.start(PENSTOCK_LEASE_SECONDS=30)
    # What a worker takes for its first jobs, whatever their due time, is not the schedule's doing.
    trial.enqueue(200, name="warm")
    trial.wait_until_over()
    before = memory(worker)
    trial.enqueue(FAR, name="far", due=timedelta(days=7))
    started = time.monotonic()
    near = trial.enqueue(NEAR, name="near", due=DUE)
    while trial.states(near) != {"done": NEAR} and measured(started) < 2 * LIMIT_SECONDS:
        time.sleep(0.05)
    took, grown = measured(started), memory(worker) - before
    print(f"{NEAR} of {NEAR} near jobs done after {took} s beside {FAR:,} far ones; the worker grew by {grown:,} bytes")
    assert took < LIMIT_SECONDS
    assert grown < 5 * MEBIBYTE
    trial.assert_exactly_once(near)
    assert trial.counts().scheduled == FAR
    trial.assert_clean()


@pytest.fixture
def stock(trial: Trial) -> Iterator[RedisBroker]:
    """dramatiq's own broker, on the same server."""
    with connect(trial.environment["REDIS_URL"]) as client:
        yield RedisBroker(client=client, namespace=f"{trial.namespace}-stock", middleware=[])


def test_the_same_schedule_hides_near_jobs_in_dramatiqs_own_broker(stock: RedisBroker) -> None:
    """The control. Each thread of its worker takes a thousand delayed messages into memory, whatever their time."""
    done: list[int] = []
    actor = dramatiq.Actor(done.append, broker=stock, actor_name="note", queue_name="q", priority=0, options={})
    for number in range(1_100):
        stock.enqueue(actor.message(number), delay=7 * 86_400_000)
    for number in range(5):
        stock.enqueue(actor.message(number), delay=1_000)
    worker = dramatiq.Worker(stock, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        time.sleep(HIDDEN_SECONDS)
        assert done == []
    finally:
        worker.stop()
